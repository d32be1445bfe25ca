"""Make the README's picture from a suite's evaluated views.

python scripts/readme_images.py default docs/images/demo.png
"""

import sys
from pathlib import Path

from PIL import Image

from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.layout import SuiteLayout, view_name


def main(suite: str, target: Path) -> None:
    """Write one row in colour and one in plaster per asset, all views side by side."""
    layout = SuiteLayout(Path(), suite)
    rows: list[list[Image.Image]] = []
    for asset in load_suite(Path(), suite).assets:
        views = layout.asset(asset).evaluation / "views"
        count = len(list(views.glob("color_*.png")))
        for kind in ("color", "textureless"):
            rows.append([Image.open(views / view_name(kind, index)) for index in range(count)])
    size = rows[0][0].width
    sheet = Image.new("RGB", (size * len(rows[0]), size * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * size, y * size))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
