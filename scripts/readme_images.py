"""Make a picture of a suite's evaluated views.

python scripts/readme_images.py default docs/images/demo.png           every view, two rows an asset
python scripts/readme_images.py toybox-16 docs/images/toybox-16.png 4  three views, 4 assets a row
"""

import sys
from pathlib import Path

from contact_sheet import save_sheet, strip

from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.layout import SuiteLayout, view_name

FEW = (("color", 0), ("color", 2), ("textureless", 1))  # front, side, and between them in plaster


def main(*arguments: str) -> None:
    """Draw the picture."""
    match arguments:
        case (suite, target):
            draw(suite, Path(target), None)
        case (suite, target, assets_per_row) if assets_per_row.isdecimal():
            draw(suite, Path(target), int(assets_per_row))
        case _:
            raise SystemExit(__doc__)


def draw(suite: str, target: Path, assets_per_row: int | None) -> None:
    """Write all views of each asset, or a few of several assets side by side."""
    layout = SuiteLayout(Path(), suite)
    folders = [
        layout.asset(asset).evaluation / "views" for asset in load_suite(Path(), suite).assets
    ]
    if assets_per_row is None:
        kinds = ("color", "textureless")
        rows = [sorted(folder.glob(f"{kind}_*.png")) for folder in folders for kind in kinds]
    else:
        few = [folder / view_name(*view) for folder in folders for view in FEW]
        length = assets_per_row * len(FEW)
        rows = [few[start : start + length] for start in range(0, len(few), length)]
    save_sheet([strip(row) for row in rows], target)


if __name__ == "__main__":
    main(*sys.argv[1:])
