"""The machine: doctor."""

from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import SuiteOption, app, command
from dreamfusion_kit.recipe.workspace import locate


@command(app, "doctor", "python cli.py doctor --recipe sd15")
def doctor(
    asset: Annotated[
        str | None, typer.Argument(metavar="ASSET", help="Estimate the memory it needs.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Estimate the memory recipes/NAME.yaml needs."),
    ] = None,
    suite: SuiteOption = None,
) -> None:
    """Print what this machine has, what it lacks and how to install that.

    For an asset or a recipe, print how much memory its optimisation needs, whether this machine
    has it, and what would make it fit. Nothing is fetched and no weights are read.
    """
    if asset is None and recipe is None:
        from dreamfusion_kit.stages import doctor as stage

        print(stage.describe(Path()))
        return
    from dreamfusion_kit.stages import memory

    here = locate(suite)
    print(memory.describe(here.workspace, here.suite, asset=asset, recipe=recipe))
