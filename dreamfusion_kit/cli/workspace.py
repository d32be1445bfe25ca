"""The workspace: init, sync, upgrade, import."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit import sync_memory
from dreamfusion_kit.cli.program import AssetArgument, SuiteOption, app, command
from dreamfusion_kit.errors import printable
from dreamfusion_kit.recipe.workspace import DEFAULT, locate


@command(app, "init", "python cli.py init my-assets --recipe sd21")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="The recipe of its first asset.")
    ] = "magic3d-toybox",
) -> None:
    """Make a workspace: recipes, a default suite with one asset, and its DVC pipeline."""
    from dreamfusion_kit.workspace import init as workspace

    print(workspace.init(directory, recipe))


@command(app, "sync", "python cli.py sync")
def sync(suite: SuiteOption = None) -> None:
    """Check a suite and bring its kit.json up to date: the digests that its stages depend on."""
    from dreamfusion_kit.workspace import sync as workspace

    here = locate(suite)
    for key in workspace.sync(here.workspace, here.suite):
        print(key)
    if suite is None and workspace.reads_no_other_files(here.workspace, here.suite):
        sync_memory.remember(Path())


@command(app, "upgrade", "python cli.py upgrade")
def upgrade(
    suite: SuiteOption = None,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="Write nothing; print, as a patch, how this version's recipes and protocols "
            "differ from the workspace's.",
        ),
    ] = False,
) -> None:
    """Bring the workspace to the installed version of the kit, and say what will rerun.

    Recipes and protocols that are as the kit shipped them are replaced, pipelines and digests
    written. What was edited by hand is kept. With --suite, only that suite's pipelines and
    digests are written.
    """
    from dreamfusion_kit.workspace import upgrade as workspace

    here = locate(suite)
    if diff:
        is_terminal = sys.stdout.isatty()
        for line in workspace.differences(here.workspace):
            print(printable(line) if is_terminal else line)  # a patch is exact in a pipe
        return
    names = [here.suite] if suite or here.suite != DEFAULT else None
    line = None
    for line in workspace.upgrade(here.workspace, names):
        print(printable(line))
    if line is None:
        print("everything is up to date")


@command(app, "import", 'python cli.py import old_chair chair.glb --prompt "an old chair"')
def import_(
    asset: AssetArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A model: GLB, glTF, OBJ, PLY or STL.")
    ],
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="What it shows, for judge and gallery.")
    ],
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A suite in suites/, created if missing. Without it, the suite whose folder this "
            "is, or else suites/imported.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Its mesh section gives formats and texture size, and its refine section, if any, "
            "refines the mesh.",
        ),
    ] = "toybox",
    up: Annotated[
        str | None,
        typer.Option(metavar="AXIS", help="x, y, z, -x, -y or -z; by default that of the format."),
    ] = None,
    front: Annotated[
        str | None, typer.Option(metavar="AXIS", help="The axis that the object's front looks to.")
    ] = None,
    meters_per_unit: Annotated[
        float | None,
        typer.Option(metavar="N", min=1e-9, max=1e6, help="By default 1, and 0.001 for STL."),
    ] = None,
    keep_uvs: Annotated[
        bool,
        typer.Option("--keep-uvs", help="Keep UVs and texture; one texture must cover all faces."),
    ] = False,
) -> None:
    """Make an asset of a mesh that others made, to be measured and shown like the kit's own.

    By default, y is up and z is the front in GLB, glTF and OBJ, z is up and -y the front in PLY
    and STL. The mesh is turned, centred and scaled into the ball that all assets share, and the
    transform is recorded. Prompts are imported by `suite import`.
    """
    from dreamfusion_kit.workspace import import_model

    here = locate() if suite is None else locate(DEFAULT)
    chosen = suite or (import_model.SUITE if here.suite == DEFAULT else here.suite)
    reading = import_model.Reading(up, front, meters_per_unit, keep_uvs)
    said = import_model.import_model(
        here.workspace, chosen, asset, file, prompt=prompt, recipe=recipe, reading=reading
    )
    for line in said.splitlines():
        print(printable(line))
