"""The optional packages that an asset needs, asked for before hours are spent on it.

No stage imports this module: code that only inspects a run must not be part of its digest.
"""

from pathlib import Path

from dreamfusion_kit.mesh.usd import check_usd
from dreamfusion_kit.recipe.resolved import resolve


def check(workspace: Path, suite: str, asset: str) -> None:
    """Raise MissingExtraError if the asset's mesh cannot be written in a format it asks for."""
    if "usdz" in resolve(workspace, suite, asset).recipe.mesh.formats:
        check_usd()
