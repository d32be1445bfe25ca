"""The command line: `python cli.py` in a clone, `dreamfusion-kit` where it is installed.

A command reads its arguments, calls one function and prints where the result is. Modules
that load torch are imported inside the command, so that --help and validate are instant.
Expected failures end with exit status 2 and one line per problem on stderr.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from dreamfusion_kit import command_name, front_door, sync_memory
from dreamfusion_kit.errors import RecipeError, printable
from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.recipe import check, json_schema, yaml_text
from dreamfusion_kit.recipe import suite as suites
from dreamfusion_kit.recipe.workspace import DEFAULT, NAME, Location, locate

_EXAMPLE = re.compile(rf"(\A\x08\n *)(?:{command_name.CLONE}|{command_name.INSTALLED})")

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
scratch_app = _group(
    "Show and clear checkpoints of runs that did not finish.", "python cli.py scratch list"
)
app.add_typer(scratch_app, name="scratch")

export_app = _group(
    "Write finished assets as other projects' evaluations read them.",
    "python cli.py export t3bench animals ../T3Bench --group single",
)
app.add_typer(export_app, name="export")

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id of the asset.")]
SuiteArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="A suite: NAME is suites/NAME, default is params.yaml. Without it, the suite whose "
        "folder this is.",
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A suite: NAME is suites/NAME, default is params.yaml. Without it, the suite whose "
        "folder this is.",
    ),
]

DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        envvar="DREAMFUSION_DEVICE",
        help="cpu, cuda or cuda:N; no other device is tried.",
    ),
]


def main() -> None:
    """Run the command line; an expected failure becomes its message and exit status 2."""
    name = command_name.command_name()
    _name_examples(app, name)
    front_door.run(lambda: app(prog_name=name))


def _name_examples(group: typer.Typer, name: str) -> None:
    """Make the help's examples start with the command as it was called."""
    for info in (group.info, *group.registered_commands):
        info.help = _EXAMPLE.sub(rf"\g<1>{name}", info.help or "")
    for subgroup in group.registered_groups:
        if subgroup.typer_instance is not None:
            _name_examples(subgroup.typer_instance, name)


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
    # Options of the program itself. Its help text is the group's.
    if context.invoked_subcommand != "fetch":
        # transformers draws a bar for every file it opens; only downloads are worth a bar.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@_command(app, "validate", "python cli.py validate recipes/toybox.yaml")
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="All by default.")
    ] = None,
) -> None:
    """Check recipes, suites and scenes, and report every problem with its line.

    Without FILES: recipes/**/*.yaml, params.yaml, suites/*/suite.yaml with its assets, and
    scenes/*.yaml. Any other file is a recipe.
    """
    checked = files or check.workspace_files(locate().workspace)
    check.check_files(checked)
    for note in check.notes(checked):
        print(note, file=sys.stderr)
    for file in checked:
        print(printable(f"{file}: ok"))


@_command(app, "show", "python cli.py show red_mug")
def show(asset: AssetArgument, suite: SuiteOption = None) -> None:
    """Print what an asset is made from: its recipe with overrides applied, and its identity.

    The identity is a hash of prompt, seed and recipe; equal identities mean equal inputs.
    """
    _show(suite, asset)


def _show(suite: str | None, asset: str) -> None:
    here = locate(suite)
    resolved = suites.resolve(here.workspace, here.suite, asset)
    print(yaml_text.dump(resolved.summary()), end="")


@_command(app, "schema", "python cli.py schema > recipes/recipe.schema.json")
def schema(
    scene: Annotated[bool, typer.Option("--scene", help="Of scenes instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, or of scenes, for editors."""
    print(json_schema.scene_json_schema() if scene else json_schema.recipe_json_schema(), end="")


@_command(suite_app, "list", "python cli.py suite list toybox-16")
def suite_list(suite: SuiteArgument = None) -> None:
    """List the assets of a suite: id, recipe, seed and prompt."""
    here = locate(suite)
    assets = suites.load_suite(here.workspace, here.suite).assets
    if not assets:
        return
    id_width = max(len(asset_id) for asset_id in assets)
    recipe_width = max(len(asset.recipe) for asset in assets.values())
    for asset_id, asset in assets.items():
        print(f"{asset_id:{id_width}}  {asset.recipe:{recipe_width}}  {asset.seed}  {asset.prompt}")


@_command(suite_app, "new", "python cli.py suite new animals --recipe sd21 --seeds 0,1,2,3")
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


@_command(suite_app, "import", "python cli.py suite import animals prompts.txt --recipe sd21")
def suite_import(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A suite; it is created if missing.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Prompts: .txt, .json, .csv or .yaml.")
    ],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="For prompts that name no recipe.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="For prompts that name no seed.")] = 0,
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


@_command(suite_app, "add", 'python cli.py suite add blue_car "a blue car"')
def suite_add(
    asset: AssetArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to make.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="A recipe: recipes/NAME.yaml.")
    ] = "toybox",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 0,
    suite: SuiteOption = None,
) -> None:
    """Add an asset to a suite. Comments and everything else in the files stay."""
    from dreamfusion_kit.workspace import edit as suite_edit

    here = locate(suite)
    path = suite_edit.add(
        here.workspace, here.suite, asset, prompt=prompt, recipe=recipe, seed=seed
    )
    print(f"{path}: added {asset}")


@_command(suite_app, "rm", "python cli.py suite rm blue_car")
def suite_rm(asset: AssetArgument, suite: SuiteOption = None) -> None:
    """Remove an asset from a suite, with its outputs, scratch folders and DVC records."""
    from dreamfusion_kit.stages import scratch
    from dreamfusion_kit.suites import status
    from dreamfusion_kit.workspace import edit as suite_edit

    here = locate(suite)
    gone = suites.load_suite(here.workspace, here.suite).in_folder(asset) or [asset]
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


@_command(app, "import", 'python cli.py import old_chair chair.glb --prompt "an old chair"')
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
        str, typer.Option(metavar="NAME", help="Its mesh section gives formats and texture size.")
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


@_command(suite_app, "status", "python cli.py suite status toybox-16")
def suite_status(suite: SuiteArgument = None) -> None:
    """Print for each asset what is made, stale, running or failed, and why.

    Exits with status 1 if something is not up to date.
    """
    from dreamfusion_kit.suites import status

    here = locate(suite)
    table, is_up_to_date = status.table(here.workspace, here.suite)
    print(table, end="")
    raise typer.Exit(not is_up_to_date)


@_command(suite_app, "run", "python cli.py suite run toybox-16 --jobs 2")
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


@_command(app, "reproduce", "python cli.py reproduce red_mug")
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


@_command(app, "compare", "python cli.py compare HEAD~1 HEAD --suite toybox-16")
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


# ---- the workspace


@_command(app, "init", "python cli.py init my-assets --recipe toybox")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="The recipe of its first asset.")
    ] = "toybox",
) -> None:
    """Make a workspace: recipes, a default suite with one asset, and its DVC pipeline."""
    from dreamfusion_kit.workspace import init as workspace

    print(workspace.init(directory, recipe))


@_command(app, "sync", "python cli.py sync")
def sync(suite: SuiteOption = None) -> None:
    """Check a suite and bring its kit.json up to date: the digests that its stages depend on."""
    from dreamfusion_kit.workspace import sync as workspace

    here = locate(suite)
    for key in workspace.sync(here.workspace, here.suite):
        print(key)
    if suite is None and workspace.reads_no_other_files(here.workspace, here.suite):
        sync_memory.remember(Path())


@_command(app, "upgrade", "python cli.py upgrade")
def upgrade(suite: SuiteOption = None) -> None:
    """Bring pipeline and digests to the installed version, and say what will rerun.

    A pipeline that was edited by hand is kept, and its differences from the new one are shown.
    """
    from dreamfusion_kit.workspace import upgrade as workspace

    here = locate(suite)
    names = [here.suite] if suite or here.suite != DEFAULT else None
    print(workspace.upgrade(here.workspace, names), end="")


# ---- the stages of the pipeline, in its order


def _name(argument: str) -> str:
    """Return the asset or recipe that an argument names.

    DVC passes a stage its own name, such as optimize@red_mug, in $DVC_STAGE. The default suite's
    commands pass it on, so that no text from a user's file appears in a shell command.
    """
    if argument == os.environ.get("DVC_STAGE"):
        return argument.rpartition("@")[2]
    return argument


@contextmanager
def _here(
    stage: CodeName, suite: str | None, subject: str | None = None
) -> Generator[Location, None, None]:
    """Yield where a stage runs; under DVC, check that kit.json matches what it runs on."""
    from dreamfusion_kit.identity import kit_file

    here = locate(suite)
    if "DVC_STAGE" not in os.environ:
        yield here
        return
    with kit_file.unchanged(here.workspace, here.suite, stage, subject):
        yield here


@_command(app, "fetch", "python cli.py fetch toybox")
def fetch(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or clip.")],
    suite: SuiteOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what is in the local Hugging Face cache.")
    ] = False,
) -> None:
    """Fetch a recipe's prior, or the evaluation's CLIP, and hash every file of it.

    A killed download resumes. Gated models need the login of an account that has accepted the
    licence: `hf auth login`, or a token in HF_TOKEN.
    """
    subject = _name(name)
    with _here("fetch", suite, subject) as here:
        from dreamfusion_kit.stages import fetch as stage

        print(stage.run(here.workspace, here.suite, subject, offline=offline))


@_command(app, "embed", "python cli.py embed red_mug")
def embed(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Turn an asset's prompt, seen from every side, into text features."""
    name = _name(asset)
    with _here("embed", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import embed as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@_command(app, "optimize", "python cli.py optimize red_mug")
def optimize(
    asset: AssetArgument,
    suite: SuiteOption = None,
    device: DeviceOption = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run, and exit.")
    ] = False,
) -> None:
    """Optimise an asset's field by score distillation; a killed run resumes."""
    name = _name(asset)
    if dry_run:
        _show(suite, name)
        return
    with _here("optimize", suite, name) as here:
        from dreamfusion_kit.stages import devices, extras, memory
        from dreamfusion_kit.stages import optimize as stage

        picked = devices.pick(device)
        extras.check(here.workspace, here.suite, name)
        memory.check(here.workspace, here.suite, name, picked)
        print(stage.run(here.workspace, here.suite, name, picked))


@_command(app, "mesh", "python cli.py mesh red_mug")
def mesh(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Extract a textured mesh from an asset's field, in the formats that mesh.formats lists."""
    name = _name(asset)
    with _here("mesh", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import mesh as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@_command(app, "refine", "python cli.py refine red_mug")
def refine(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Refine an asset's mesh, if its recipe has a section `refine`; a killed run resumes."""
    name = _name(asset)
    with _here("refine", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import refine as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@_command(app, "evaluate", "python cli.py evaluate red_mug")
def evaluate(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Render and measure an asset's fixed views, and measure its shape if the truth is known."""
    name = _name(asset)
    with _here("evaluate", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import evaluate as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@_command(app, "score", "python cli.py score")
def score(suite: SuiteOption = None) -> None:
    """Summarise a suite in metrics/SUITE.json and a table of its assets."""
    with _here("score", suite) as here:
        from dreamfusion_kit.stages import score as stage

        print(stage.run(here.workspace, here.suite))


@_command(app, "report", "python cli.py report")
def report(suite: SuiteOption = None) -> None:
    """Write a suite's gallery: one page that works without a network."""
    with _here("report", suite) as here:
        from dreamfusion_kit.stages import report as stage

        print(stage.run(here.workspace, here.suite))


@_command(app, "scene", "python cli.py scene toy-table")
def scene(
    name: Annotated[str, typer.Argument(metavar="SCENE", help="A scene: scenes/SCENE.yaml.")],
    suite: SuiteOption = None,
) -> None:
    """Put finished assets together: one GLB, one USDZ, stills and a fly-around.

    Needs the extras `render` (Mitsuba, on any CPU) and `usd`.
    """
    with _here("scene", suite, name) as here:
        from dreamfusion_kit.stages import scene as stage

        print(stage.run(here.workspace, here.suite, name))


@_command(app, "relight", "python cli.py relight red_mug --light studio --light sunset")
def relight(
    asset: AssetArgument,
    light: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIGHT",
            help="studio, sunset, overcast, or an .hdr or .exr file; may be repeated. All three by "
            "default.",
        ),
    ] = None,
    image_size: Annotated[
        int, typer.Option("--size", metavar="PX", min=16, max=4096, help="Side of a still.")
    ] = 384,
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, max=65536, help="Paths per pixel of a still.")
    ] = 64,
    frames: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Of the turntable; 0 for none.")
    ] = 24,
    suite: SuiteOption = None,
) -> None:
    """Take pictures of an asset's mesh under light from all around, with shadows.

    Writes stills and a turntable into out/relight/ASSET/LIGHT. Needs the extra `render`: Mitsuba,
    which runs on any CPU and needs neither LLVM nor OpenGL.
    """
    from dreamfusion_kit.environment import LIGHT_NAMES
    from dreamfusion_kit.stages import relight as stage

    here = locate(suite)
    for folder in stage.run(
        here.workspace,
        here.suite,
        asset,
        light or LIGHT_NAMES,
        image_size_px=image_size,
        samples_per_pixel=samples,
        num_frames=frames,
    ):
        print(folder)


@_command(app, "summary", "python cli.py summary")
def summary(suite: SuiteOption = None) -> None:
    """Print a suite's table and the path of its gallery."""
    from dreamfusion_kit.stages import summary as stage

    here = locate(suite)
    print(stage.table(here.workspace, here.suite))


# ---- the embedded world


ExportedSuite = Annotated[
    str,
    typer.Argument(metavar="SUITE", help="A suite: NAME is suites/NAME, default is params.yaml."),
]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only the assets of this seed.", min=0)
]


@_command(export_app, "t3bench", "python cli.py export t3bench animals ../T3Bench --group single")
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
        raise RecipeError(f"--method {method}: expected a name of a-z, 0-9, _ and -")
    here = locate(suite)
    for folder in export.t3bench(
        here.workspace, here.suite, directory, method=method, group=group, seed=seed
    ):
        print(printable(str(folder)))


@_command(
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


@_command(toybox_app, "render", "python cli.py toybox render")
def toybox_render() -> None:
    """Render the data sets of the prior and of the CLIP."""
    from dreamfusion_kit.stages import toybox as stage

    stage.render_data(locate().workspace)


@_command(toybox_app, "train-prior", "python cli.py toybox train-prior")
def toybox_train_prior(
    device: DeviceOption = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Processes that draw batches; 0 uses this one. A GPU needs about 12."
        ),
    ] = 0,
) -> None:
    """Train the diffusion prior; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_prior(locate().workspace, devices.pick(device), workers))


@_command(toybox_app, "train-clip", "python cli.py toybox train-clip")
def toybox_train_clip(device: DeviceOption = "cpu") -> None:
    """Train the CLIP; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_clip(locate().workspace, devices.pick(device)))


@_command(toybox_app, "train-view", "python cli.py toybox train-view")
def toybox_train_view(device: DeviceOption = "cpu") -> None:
    """Train the view classifier; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_view(locate().workspace, devices.pick(device)))


@_command(toybox_app, "evaluate", "python cli.py toybox evaluate")
def toybox_evaluate(
    device: DeviceOption = "cpu",
    sheet: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the sheet of samples.")
    ] = Path("docs/images/toybox-samples.png"),
) -> None:
    """Measure the judges on true renders, and the prior's samples by the judges."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox_evaluate as stage

    print(stage.run(locate().workspace, devices.pick(device), sheet=sheet))


# ---- what unfinished runs leave behind

ScratchAssetOption = Annotated[
    str | None, typer.Option("--asset", metavar="ASSET", help="Only those of this asset.")
]
OlderOption = Annotated[
    float,
    typer.Option("--older-than", metavar="DAYS", min=0.0, help="Only those untouched for longer."),
]


@_command(scratch_app, "list", "python cli.py scratch list --older-than 7")
def scratch_list(asset: ScratchAssetOption = None, older_than: OlderOption = 0.0) -> None:
    """List the scratch folders in .work: owner, size, age and whether a run uses them."""
    from dreamfusion_kit.stages import scratch

    found = scratch.find(locate().workspace, asset=asset, older_than_days=older_than)
    print(scratch.table(found) if found else "no scratch")


@_command(scratch_app, "clear", "python cli.py scratch clear --older-than 30")
def scratch_clear(asset: ScratchAssetOption = None, older_than: OlderOption = 0.0) -> None:
    """Remove scratch folders that no run uses. A run with the same inputs then starts over."""
    from dreamfusion_kit.stages import scratch

    found = scratch.find(locate().workspace, asset=asset, older_than_days=older_than)
    cleared = scratch.clear(found)
    freed = scratch.size(sum(folder.size_bytes for folder in cleared))
    print(f"cleared {len(cleared)} of {len(found)}, {freed}")


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


# ---- the regression gate


@_command(app, "gate", "python cli.py gate --against origin/main --suite toybox-16")
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
