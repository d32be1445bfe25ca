"""The command line: `python cli.py` in a clone, `dreamfusion-kit` where it is installed.

A command reads its arguments, calls one function and prints where the result is. What
loads torch is imported inside the command, so that --help and validate are instant.
Expected failures end with exit status 2 and one line per problem on stderr.
"""

import inspect
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe import check, edit, json_schema, yaml_text
from dreamfusion_kit.recipe import suite as suites

WORKSPACE = Path()  # commands run at the workspace's root, and name files relative to it

CommandT = TypeVar("CommandT", bound=Callable[..., None])


def _group(summary: str, example: str) -> typer.Typer:
    return typer.Typer(
        help=f"\b\n    {example}\n\n{summary}",
        short_help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain text can be saved and compared
        pretty_exceptions_enable=False,
    )


def _command(group: typer.Typer, name: str, example: str) -> Callable[[CommandT], CommandT]:
    """Register a command whose help opens with an example to paste, then its docstring."""

    def register(function: CommandT) -> CommandT:
        text = inspect.getdoc(function) or ""
        return group.command(
            name, help=f"\b\n    {example}\n\n{text}", short_help=text.partition("\n")[0]
        )(function)

    return register


app = _group(
    "Text to 3D by score distillation: prompts in, measured meshes out.", "python cli.py validate"
)
suite_app = _group("List and edit the assets of a suite.", "python cli.py suite list")
toybox_app = _group(
    "Make and measure the embedded world's prior and its judges.", "python cli.py toybox evaluate"
)
app.add_typer(suite_app, name="suite")
app.add_typer(toybox_app, name="toybox")

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id of the asset.")]
SuiteOption = Annotated[
    str, typer.Option(metavar="NAME", help="default is params.yaml, NAME is suites/NAME.")
]


def main() -> None:
    """Run the command line; an expected failure becomes its message and exit status 2."""
    try:
        app()
    except DreamFusionKitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _print_version(asked: bool) -> bool:
    if asked:
        try:
            print(f"dreamfusion-kit {installed_version('dreamfusion-kit')}")
        except PackageNotFoundError:
            print("dreamfusion-kit, not installed: run from a clone")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    # Options of the program itself. Its help is the group's.
    if context.invoked_subcommand != "fetch":
        # transformers draws a bar for every file it opens; only of downloads it is worth seeing.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@_command(app, "validate", "python cli.py validate recipes/toybox.yaml")
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="All of them by default.")
    ] = None,
) -> None:
    """Check recipes and suites, and report every problem by its line.

    Without FILES: recipes/**/*.yaml, params.yaml and suites/*/params.yaml. A file named
    params.yaml is a suite, any other a recipe.
    """
    checked = files or check.workspace_files(WORKSPACE)
    check.check_files(checked)
    for file in checked:
        print(f"{file}: ok")


@_command(app, "show", "python cli.py show red_mug")
def show(asset: AssetArgument, suite: SuiteOption = suites.DEFAULT) -> None:
    """Print what an asset is made from: its recipe with overrides applied, and its identity.

    The identity is a hash of prompt, seed and recipe; equal identities mean equal inputs.
    """
    resolved = suites.resolve(WORKSPACE, suite, asset)
    print(yaml_text.dump(resolved.summary()), end="")


@_command(app, "schema", "python cli.py schema > recipes/recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    print(json_schema.recipe_json_schema(), end="")


@_command(suite_app, "list", "python cli.py suite list --suite toybox-16")
def suite_list(suite: SuiteOption = suites.DEFAULT) -> None:
    """List the assets of a suite: id, recipe, seed and prompt."""
    assets = suites.load_suite(WORKSPACE, suite).assets
    id_width = max(len(asset_id) for asset_id in assets)
    recipe_width = max(len(asset.recipe) for asset in assets.values())
    for asset_id, asset in assets.items():
        print(f"{asset_id:{id_width}}  {asset.recipe:{recipe_width}}  {asset.seed}  {asset.prompt}")


@_command(suite_app, "add", 'python cli.py suite add blue_car "a blue car"')
def suite_add(
    asset: AssetArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to make.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="A recipe: recipes/NAME.yaml.")
    ] = "toybox",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 0,
    suite: SuiteOption = suites.DEFAULT,
) -> None:
    """Add an asset at the end of a suite. Comments and all else in the file stay."""
    path = edit.add_asset(WORKSPACE, suite, asset, prompt=prompt, recipe=recipe, seed=seed)
    print(f"{path}: added {asset}")


@_command(suite_app, "rm", "python cli.py suite rm blue_car")
def suite_rm(asset: AssetArgument, suite: SuiteOption = suites.DEFAULT) -> None:
    """Remove an asset from a suite. What was made of it stays in out/."""
    path = edit.remove_asset(WORKSPACE, suite, asset)
    print(f"{path}: removed {asset}")


# ---- the stages of the pipeline, in its order

DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        envvar="DREAMFUSION_DEVICE",
        help="cpu, cuda or cuda:N; never another than asked for.",
    ),
]


@_command(app, "fetch", "python cli.py fetch toybox")
def fetch(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or clip.")],
    suite: SuiteOption = suites.DEFAULT,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what is in the local Hugging Face cache.")
    ] = False,
) -> None:
    """Bring a recipe's prior, or the evaluation's CLIP, and hash every file of it.

    A killed download goes on where it stopped. Gated models need a login whose owner has
    accepted the licence: `hf auth login`, or a token in HF_TOKEN.
    """
    from dreamfusion_kit.stages import fetch as stage

    print(stage.run(WORKSPACE, suite, name, offline=offline))


@_command(app, "embed", "python cli.py embed red_mug")
def embed(
    asset: AssetArgument, suite: SuiteOption = suites.DEFAULT, device: DeviceOption = "cpu"
) -> None:
    """Turn an asset's prompt, seen from every side, into text features."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import embed as stage

    print(stage.run(WORKSPACE, suite, asset, devices.pick(device)))


@_command(app, "optimize", "python cli.py optimize red_mug")
def optimize(
    asset: AssetArgument,
    suite: SuiteOption = suites.DEFAULT,
    device: DeviceOption = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run, and stop.")
    ] = False,
) -> None:
    """Optimise an asset's field by score distillation; a killed run goes on where it was."""
    if dry_run:
        print(yaml_text.dump(suites.resolve(WORKSPACE, suite, asset).summary()), end="")
        return
    from dreamfusion_kit.stages import devices, memory
    from dreamfusion_kit.stages import optimize as stage

    picked = devices.pick(device)
    memory.check(WORKSPACE, suite, asset, picked)
    print(stage.run(WORKSPACE, suite, asset, picked))


@_command(app, "mesh", "python cli.py mesh red_mug")
def mesh(
    asset: AssetArgument, suite: SuiteOption = suites.DEFAULT, device: DeviceOption = "cpu"
) -> None:
    """Extract a textured mesh from an asset's field: GLB, OBJ and PLY."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import mesh as stage

    print(stage.run(WORKSPACE, suite, asset, devices.pick(device)))


@_command(app, "evaluate", "python cli.py evaluate red_mug")
def evaluate(
    asset: AssetArgument, suite: SuiteOption = suites.DEFAULT, device: DeviceOption = "cpu"
) -> None:
    """Render an asset's fixed views and measure them, and its shape where it is known."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import evaluate as stage

    print(stage.run(WORKSPACE, suite, asset, devices.pick(device)))


@_command(app, "score", "python cli.py score")
def score(suite: SuiteOption = suites.DEFAULT) -> None:
    """Sum a suite up in metrics/SUITE.json and a table of its assets."""
    from dreamfusion_kit.stages import score as stage

    print(stage.run(WORKSPACE, suite))


@_command(app, "report", "python cli.py report")
def report(suite: SuiteOption = suites.DEFAULT) -> None:
    """Write a suite's gallery: one page that works without a network."""
    from dreamfusion_kit.stages import report as stage

    print(stage.run(WORKSPACE, suite))


@_command(app, "summary", "python cli.py summary")
def summary(suite: SuiteOption = suites.DEFAULT) -> None:
    """Print a suite's table, and where its gallery is."""
    from dreamfusion_kit.stages import summary as stage

    print(stage.table(WORKSPACE, suite))


# ---- the embedded world


@_command(toybox_app, "render", "python cli.py toybox render")
def toybox_render() -> None:
    """Render the data sets of the prior and of the CLIP."""
    from dreamfusion_kit.stages import toybox as stage

    stage.render_data(WORKSPACE)


@_command(toybox_app, "train-prior", "python cli.py toybox train-prior")
def toybox_train_prior(
    device: DeviceOption = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Processes that draw the batches, 0: this one. A GPU needs some 12."
        ),
    ] = 0,
) -> None:
    """Train the diffusion prior; a killed training goes on where it was."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_prior(WORKSPACE, devices.pick(device), workers))


@_command(toybox_app, "train-clip", "python cli.py toybox train-clip")
def toybox_train_clip(device: DeviceOption = "cpu") -> None:
    """Train the CLIP; a killed training goes on where it was."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_clip(WORKSPACE, devices.pick(device)))


@_command(toybox_app, "train-view", "python cli.py toybox train-view")
def toybox_train_view(device: DeviceOption = "cpu") -> None:
    """Train the view classifier; a killed training goes on where it was."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_view(WORKSPACE, devices.pick(device)))


@_command(toybox_app, "evaluate", "python cli.py toybox evaluate")
def toybox_evaluate(
    device: DeviceOption = "cpu",
    sheet: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the sheet of samples goes.")
    ] = Path("docs/images/toybox-samples.png"),
) -> None:
    """Measure the judges on true renders, and the prior's samples by the judges."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox_evaluate as stage

    print(stage.run(WORKSPACE, devices.pick(device), sheet=sheet))


# ---- the machine


@_command(app, "doctor", "python cli.py doctor --recipe sd15")
def doctor(
    asset: Annotated[
        str | None, typer.Argument(metavar="ASSET", help="Estimate the memory it needs.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Estimate the memory recipes/NAME.yaml needs."),
    ] = None,
    suite: SuiteOption = suites.DEFAULT,
) -> None:
    """Print what this machine has and what it lacks, and how to install that.

    Of an asset or a recipe: how much memory its optimisation needs, whether this machine has
    it, and what would make it fit. Nothing is fetched and no weights are read.
    """
    if asset is None and recipe is None:
        from dreamfusion_kit.stages import doctor as stage

        print(stage.describe(WORKSPACE))
        return
    from dreamfusion_kit.stages import memory

    print(memory.describe(WORKSPACE, suite, asset=asset, recipe=recipe))
