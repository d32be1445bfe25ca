"""Views of assets side by side, one row below the other, for the pictures of the docs."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw


def strip(pictures: Sequence[Path], label: str = "") -> Image.Image:
    """Return pictures of one size in a row, with a label in the corner."""
    opened = [Image.open(path).convert("RGB") for path in pictures]
    width, height = opened[0].size
    row = Image.new("RGB", (width * len(opened), height))
    for index, one in enumerate(opened):
        row.paste(one, (index * width, 0))
    ImageDraw.Draw(row).text((2, 1), label, fill="black")
    return row


def save_sheet(rows: Sequence[Image.Image], target: Path) -> None:
    """Write rows of one height below each other."""
    size = (max(row.width for row in rows), sum(row.height for row in rows))
    sheet = Image.new("RGB", size, "#808080")  # the views' own background
    for index, row in enumerate(rows):
        sheet.paste(row, (0, index * row.height))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)
