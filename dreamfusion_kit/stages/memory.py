"""Doctor's estimate of the memory that an asset or a recipe needs, and the check before a run.

No stage imports this module: code that only inspects a run must not be part of its digest.
"""

from pathlib import Path

import torch

from dreamfusion_kit.memory.advice import check_fits, report
from dreamfusion_kit.memory.components import components
from dreamfusion_kit.memory.device import first_device
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.schema import Recipe


def describe(workspace: Path, suite: str, *, asset: str | None, recipe: str | None) -> str:
    """Return the estimate for an asset, for a recipe in `recipes/`, or for each in turn."""
    device = first_device()
    asked: list[tuple[str, Recipe]] = []
    if asset is not None:
        resolved = resolve(workspace, suite, asset)
        asked.append((f"{resolved.recipe_name}, as {asset} has it", resolved.recipe))
    if recipe is not None:
        asked.append((recipe, load_recipe(workspace / "recipes" / f"{recipe}.yaml")))
    return "\n\n".join(
        report(found, title, *components(found.prior, workspace), device) for title, found in asked
    )


def check(workspace: Path, suite: str, asset: str, device: torch.device) -> None:
    """Raise RecipeError if the asset's optimisation cannot fit `device`."""
    check_fits(resolve(workspace, suite, asset).recipe, workspace, device)
