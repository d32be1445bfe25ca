"""Make an asset again, and compare results: reproduce, compare, gate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import AssetArgument, SuiteOption, app, command
from dreamfusion_kit.errors import RecipeError, printable
from dreamfusion_kit.recipe.workspace import locate


@command(app, "reproduce", "python cli.py reproduce red_mug")
def reproduce(
    asset: AssetArgument,
    suite: SuiteOption = None,
    rev: Annotated[
        str | None,
        typer.Option(
            metavar="REV", help="Make it from this Git revision and not the recorded commit."
        ),
    ] = None,
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect", help="Also name the step and the kind of tensor that differ first."
        ),
    ] = False,
) -> None:
    """Make an asset again in a temporary clone, and say which file differs first, if one does.

    The clone is of the commit that the run recorded, or else the first that has the run in its
    dvc.lock. Device and threads are those of the run record; what differs in packages and
    machine is printed. Exits with status 1 if a file differs.
    """
    from dreamfusion_kit.suites import recorded
    from dreamfusion_kit.suites import reproduce as again

    here = locate(suite)
    record = recorded.read_record(here.workspace, here.suite, asset)
    if rev is None:
        source = recorded.recorded_source(here.workspace, here.suite, asset)
    else:
        source = recorded.named_source(here.workspace, rev)
    for line in (str(source), *recorded.differences(record)):
        print(printable(line), flush=True)
    differs = False
    for result in again.reproduce(here.workspace, here.suite, asset, source=source, bisect=bisect):
        for line in str(result).splitlines():
            print(printable(line), flush=True)
        differs = differs or (not isinstance(result, str) and result.difference is not None)
    raise typer.Exit(differs)


@command(app, "compare", "python cli.py compare HEAD~1 HEAD --suite toybox-16")
def compare(
    left: Annotated[
        str, typer.Argument(metavar="A", help="[REV:]ASSET, SUITE/ASSET, SUITE or REV.")
    ],
    right: Annotated[
        str | None, typer.Argument(metavar="B", help="The other side, named the same way.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="REV", help="Compare A at this revision with A as it is.")
    ] = None,
    suite: SuiteOption = None,
    page: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the page.")] = Path(
        "comparison.html"
    ),
) -> None:
    """Write one page with two assets, suites or revisions side by side, their viewers linked.

    It has the recipes' differences, and the change of each measure; over a suite with its
    interval. Measures come from the committed metrics. A revision's meshes and pictures come
    from DVC's cache; those that it does not hold are left out.
    """
    from dreamfusion_kit.suites import compare as stage

    if (right is None) == (against is None):
        raise RecipeError("compare: expected B or --against REV, one of them")
    here = locate(suite)
    sides = (left, right) if right is not None else (f"{against}:{left}", left)
    print(stage.compare(here.workspace, here.suite, *sides, page))


@command(app, "gate", "python cli.py gate --against origin/main --suite toybox-16")
def gate(
    against: Annotated[
        str,
        typer.Option(metavar="REV", help="A commit, branch or tag, or a metrics file (.json)."),
    ],
    suite: SuiteOption = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report there.")
    ] = None,
) -> None:
    """Compare a suite's metrics with a revision's, and refuse a fall of quality.

    Reads metrics/<suite>.json on both sides and gate: in params.yaml; needs no outputs, no
    cache and no GPU. Exit status 1 if a metric fell by more than its tolerance and by more than
    chance, 2 if the sides cannot be compared.
    """
    from dreamfusion_kit.stages import gate as stage

    here = locate(suite)
    outcome = stage.run(here.workspace, here.suite, against, markdown)
    print(outcome.report, end="")
    if outcome.refused:
        print(outcome.decision, file=sys.stderr)
        raise typer.Exit(1)
