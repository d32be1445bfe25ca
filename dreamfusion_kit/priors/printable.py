"""What another machine or a stranger's file says, as part of a one-line message."""


def printable(text: str, limit: int = 300) -> str:
    """Return `text` as one line without control characters, cut after `limit` characters."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= limit else f"{line[:limit]}..."
