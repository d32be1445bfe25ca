"""Make the README's picture from a suite's evaluated views.

python scripts/readme_images.py default docs/images/demo.png
"""

import sys
from pathlib import Path

from contact_sheet import save_sheet, strip

from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.layout import SuiteLayout


def main(suite: str, target: Path) -> None:
    """Write one row in colour and one in plaster per asset, all views side by side."""
    layout = SuiteLayout(Path(), suite)
    rows = [
        strip(sorted((layout.asset(asset).evaluation / "views").glob(f"{kind}_*.png")))
        for asset in load_suite(Path(), suite).assets
        for kind in ("color", "textureless")
    ]
    save_sheet(rows, target)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
