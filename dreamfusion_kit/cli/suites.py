"""`suite ...`: list, edit and make the assets of a suite."""

from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import (
    AssetArgument,
    DeviceOption,
    SuiteArgument,
    SuiteOption,
    command,
    suite_app,
)
from dreamfusion_kit.errors import RecipeError, printable
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT, Location, locate


@command(suite_app, "list", "python cli.py suite list toybox-16")
def suite_list(suite: SuiteArgument = None) -> None:
    """List the assets of a suite: id, recipe, seed and prompt."""
    here = locate(suite)
    assets = load_suite(here.workspace, here.suite).assets
    if not assets:
        return
    id_width = max(len(asset_id) for asset_id in assets)
    recipe_width = max(len(asset.recipe) for asset in assets.values())
    for asset_id, asset in assets.items():
        print(f"{asset_id:{id_width}}  {asset.recipe:{recipe_width}}  {asset.seed}  {asset.prompt}")


@command(suite_app, "new", "python cli.py suite new animals --recipe sd21 --seeds 0,1,2,3")
def suite_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its folder is suites/NAME.")],
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Make each asset once per seed, as ID_s0, ID_s1, ..."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its main recipe, which determines its protocol."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its protocol, from protocols/, such as dreamfusion."),
    ] = None,
) -> None:
    """Make an empty suite: a folder that is a DVC project of its own.

    No other suite depends on it. If the recipe knows any prompt and the workspace's protocol
    asks for the toybox's captions, the suite gets its own protocol.
    """
    from dreamfusion_kit.workspace import folder

    made = folder.new_suite(
        locate().workspace, name, seeds=_seeds(seeds), recipe=recipe, protocol_name=protocol
    )
    print(made)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise RecipeError(f"--seeds {text}: expected whole numbers, such as 0,1,2,3")
    return tuple(map(int, parts))


@command(suite_app, "import", "python cli.py suite import animals prompts.txt --recipe sd21")
def suite_import(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A suite; it is created if missing.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Prompts: .txt, .json, .csv or .yaml.")
    ],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="For prompts that name no recipe.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="For prompts that name no seed, where the suite has none: 0 by default.",
        ),
    ] = None,
) -> None:
    """Add an asset to a suite for each prompt of a list.

    A text file has one prompt per line. JSON and YAML hold a list of prompts, or of objects with
    prompt and optionally id, recipe and seed, or an object of such lists. CSV has these as
    columns. Without an id, one is made from the prompt's words. Prompts that already exist are
    skipped.
    """
    from dreamfusion_kit.workspace import import_prompts

    imported = import_prompts.import_prompts(
        locate().workspace, name, file, recipe=recipe, seed=seed
    )
    for line in imported.skipped:
        print(printable(f"{line}; skipped"))
    print(f"suites/{name}: {len(imported.added)} added, {len(imported.skipped)} skipped")


@command(suite_app, "add", 'python cli.py suite add blue_car "a blue car"')
def suite_add(
    asset: AssetArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to make.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A recipe: recipes/NAME.yaml. By default the one that all assets of the suite "
            "have; for an empty suite, that all assets of params.yaml have.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Seed of all random streams, where the suite has none: 0 by default.",
        ),
    ] = None,
    suite: SuiteOption = None,
) -> None:
    """Add an asset to a suite. Comments and everything else in the files stay."""
    from dreamfusion_kit.workspace import edit as suite_edit

    here = locate(suite)
    chosen = _shared_recipe(here) if recipe is None else recipe
    path = suite_edit.add(
        here.workspace, here.suite, asset, prompt=prompt, recipe=chosen, seed=seed
    )
    print(f"{path}: added {asset}")


def _shared_recipe(here: Location) -> str:
    """Return the recipe that all assets of the suite have, or of the default one if it has none."""
    found = load_suite(here.workspace, here.suite).recipes
    found = found or load_suite(here.workspace, DEFAULT).recipes
    if len(found) != 1:
        raise RecipeError(
            f"suite {here.suite}: found several recipes ({', '.join(found)}), expected --recipe "
            "with one of them or another"
        )
    return found[0]


@command(suite_app, "rm", "python cli.py suite rm blue_car")
def suite_rm(asset: AssetArgument, suite: SuiteOption = None) -> None:
    """Remove an asset from a suite, with its outputs, scratch folders and DVC records."""
    from dreamfusion_kit.stages import scratch
    from dreamfusion_kit.suites import status
    from dreamfusion_kit.suites.run_guard import only_run
    from dreamfusion_kit.workspace import edit as suite_edit

    here = locate(suite)
    gone = load_suite(here.workspace, here.suite).in_folder(asset) or [asset]
    with only_run(here.workspace, here.suite):  # a run would make it again, or record it
        path = suite_edit.remove(here.workspace, here.suite, asset)
        scratch.clear(
            [
                folder
                for folder in scratch.find(here.workspace)
                if folder.note["suite"] == here.suite and folder.note["asset"] in gone
            ]
        )
        for name in gone:
            status.log_file(here.workspace, here.suite, name).unlink(missing_ok=True)
    print(f"{path}: removed {asset}")


@command(suite_app, "status", "python cli.py suite status toybox-16")
def suite_status(suite: SuiteArgument = None) -> None:
    """Print for each asset what is made, stale, running or failed, and why.

    Exits with status 1 if something is not up to date.
    """
    from dreamfusion_kit.suites import status

    here = locate(suite)
    table, is_up_to_date = status.table(here.workspace, here.suite)
    print(table, end="")
    raise typer.Exit(not is_up_to_date)


@command(suite_app, "run", "python cli.py suite run toybox-16 --jobs 2")
def suite_run(
    suite: SuiteArgument = None,
    jobs: Annotated[
        str, typer.Option(metavar="N", help="Workers; auto is one per GPU, or one per core.")
    ] = "auto",
    asset: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this asset; may be repeated.")
    ] = None,
    device: DeviceOption = "cpu",
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster: HOST:PORT, auto or local."),
    ] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Work in Slurm jobs, one per asset.")] = (
        False
    ),
    slurm_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Such as partition=gpu; may be repeated."),
    ] = None,
) -> None:
    """Make what is not up to date, with several workers; then score and report.

    An asset that fails does not stop the others, but the exit status is then 1. Ctrl-C stops the
    workers, and the next run resumes their optimisations.

    With --ray or --slurm, workers work in clones of the commit, and outputs go through the DVC
    remote; --jobs is then the most workers at a time.
    """
    from dreamfusion_kit.suites import driver, placement

    here = locate(suite)
    crew = placement.crew(
        here.workspace,
        here.suite,
        device=device,
        jobs=jobs,
        ray=ray,
        slurm=slurm,
        slurm_options=tuple(slurm_option or ()),
    )
    outcome = driver.run_suite(here.workspace, here.suite, crew=crew, only=tuple(asset or ()))
    print(outcome.summary())
    raise typer.Exit(bool(outcome.failed))
