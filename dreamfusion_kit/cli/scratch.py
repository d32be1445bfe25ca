"""`scratch ...`: what unfinished runs leave behind."""

from typing import Annotated

import typer

from dreamfusion_kit.cli.program import command, scratch_app
from dreamfusion_kit.recipe.workspace import locate

ScratchAssetOption = Annotated[
    str | None, typer.Option("--asset", metavar="ASSET", help="Only those of this asset.")
]
OlderOption = Annotated[
    float,
    typer.Option("--older-than", metavar="DAYS", min=0.0, help="Only those untouched for longer."),
]


@command(scratch_app, "list", "python cli.py scratch list --older-than 7")
def scratch_list(asset: ScratchAssetOption = None, older_than: OlderOption = 0.0) -> None:
    """List the scratch folders in .work: owner, size, age and whether a run uses them."""
    from dreamfusion_kit.stages import scratch

    found = scratch.find(locate().workspace, asset=asset, older_than_days=older_than)
    print(scratch.table(found) if found else "no scratch")


@command(scratch_app, "clear", "python cli.py scratch clear --older-than 30")
def scratch_clear(asset: ScratchAssetOption = None, older_than: OlderOption = 0.0) -> None:
    """Remove scratch folders that no run uses. A run with the same inputs then starts over."""
    from dreamfusion_kit.stages import scratch

    found = scratch.find(locate().workspace, asset=asset, older_than_days=older_than)
    cleared = scratch.clear(found)
    freed = scratch.size(sum(folder.size_bytes for folder in cleared))
    print(f"cleared {len(cleared)} of {len(found)}, {freed}")
