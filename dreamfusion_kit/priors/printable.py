"""Text from another machine or an untrusted file, made safe for a one-line message."""

from dreamfusion_kit import errors


def printable(text: str, limit: int = 300) -> str:
    """Return `text` as one printable line of at most `limit` characters."""
    return errors.shortened(errors.printable(" ".join(text.split())), limit)
