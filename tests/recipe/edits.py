"""Edits to the files of the workspace that a test breaks."""

from pathlib import Path


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old`, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def override_red_mug(workspace: Path, *lines: str) -> None:
    """Give the first asset without overrides these."""
    block = "".join(f"      {line}\n" for line in lines)
    edit(workspace / "params.yaml", "    overrides: {}\n", f"    overrides:\n{block}")
