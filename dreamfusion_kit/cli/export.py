"""`export ...`: assets as other projects' evaluations read them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import command, export_app
from dreamfusion_kit.errors import RecipeError, printable
from dreamfusion_kit.recipe.workspace import NAME, locate

ExportedSuite = Annotated[
    str,
    typer.Argument(metavar="SUITE", help="A suite: NAME is suites/NAME, default is params.yaml."),
]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only the assets of this seed.", min=0)
]


@command(export_app, "t3bench", "python cli.py export t3bench animals ../T3Bench --group single")
def export_t3bench(
    suite: ExportedSuite,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A clone of T3Bench, or a folder to copy there.")
    ],
    group: Annotated[
        str, typer.Option(metavar="NAME", help="Its list of prompts: single, surr or multi.")
    ],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="The method's name there.")
    ] = "dreamfusion",
    seed: SeedOption = None,
) -> None:
    """Write a suite's meshes where T3Bench's scripts look for them.

    Its scripts accept the names of methods they know, such as dreamfusion.
    """
    from dreamfusion_kit.stages import export

    if group not in export.T3BENCH_GROUPS:
        raise RecipeError(f"--group {group}: expected {', '.join(export.T3BENCH_GROUPS)}")
    if not re.fullmatch(NAME, method):
        raise RecipeError(
            f"--method {method}: expected a name of a-z, 0-9, _ and -, without - at the start"
        )
    here = locate(suite)
    for folder in export.t3bench(
        here.workspace, here.suite, directory, method=method, group=group, seed=seed
    ):
        print(printable(str(folder)))


@command(
    export_app,
    "gpteval3d",
    "python cli.py export gpteval3d animals data/ours --prompts prompts.json",
)
def export_gpteval3d(
    suite: ExportedSuite,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The method's folder.")],
    prompts: Annotated[
        Path, typer.Option(metavar="FILE", help="GPTEval3D's prompts.json, which numbers them.")
    ],
    seed: SeedOption = None,
) -> None:
    """Render a suite's meshes as GPTEval3D reads them: 120 views, in colour and as normals."""
    from dreamfusion_kit.stages import export

    here = locate(suite)
    for folder in export.gpteval3d(
        here.workspace, here.suite, directory, prompts=prompts, seed=seed
    ):
        print(printable(str(folder)))
