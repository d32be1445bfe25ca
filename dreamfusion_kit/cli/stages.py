"""The stages of the pipeline, in its order, and what shows their results."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import AssetArgument, DeviceOption, SuiteOption, app, command
from dreamfusion_kit.cli.recipes import show_asset
from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.recipe.workspace import Location, locate


def _name(argument: str) -> str:
    """Return the asset or recipe that an argument names.

    DVC passes a stage its own name, such as optimize@red_mug, in $DVC_STAGE. The default suite's
    commands pass it on, so that no text from a user's file appears in a shell command.
    """
    if argument == os.environ.get("DVC_STAGE"):
        return argument.rpartition("@")[2]
    return argument


@contextmanager
def located(
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


@command(app, "fetch", "python cli.py fetch toybox")
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
    with located("fetch", suite, subject) as here:
        from dreamfusion_kit.stages import fetch as stage

        print(stage.run(here.workspace, here.suite, subject, offline=offline))


@command(app, "embed", "python cli.py embed red_mug")
def embed(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Turn an asset's prompt, seen from every side, into text features."""
    name = _name(asset)
    with located("embed", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import embed as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@command(app, "optimize", "python cli.py optimize red_mug")
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
        show_asset(suite, name)
        return
    with located("optimize", suite, name) as here:
        from dreamfusion_kit.stages import devices, extras, memory
        from dreamfusion_kit.stages import optimize as stage

        picked = devices.pick(device)
        extras.check(here.workspace, here.suite, name)
        memory.check(here.workspace, here.suite, name, picked)
        print(stage.run(here.workspace, here.suite, name, picked))


@command(app, "mesh", "python cli.py mesh red_mug")
def mesh(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Extract a textured mesh from an asset's field, in the formats that mesh.formats lists."""
    name = _name(asset)
    with located("mesh", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import mesh as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@command(app, "refine", "python cli.py refine red_mug")
def refine(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Refine an asset's mesh, if its recipe has a section `refine`; a killed run resumes."""
    name = _name(asset)
    with located("refine", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import refine as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@command(app, "evaluate", "python cli.py evaluate red_mug")
def evaluate(asset: AssetArgument, suite: SuiteOption = None, device: DeviceOption = "cpu") -> None:
    """Render and measure an asset's fixed views, and measure its shape if the truth is known."""
    name = _name(asset)
    with located("evaluate", suite, name) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import evaluate as stage

        print(stage.run(here.workspace, here.suite, name, devices.pick(device)))


@command(app, "score", "python cli.py score")
def score(suite: SuiteOption = None) -> None:
    """Summarise a suite in metrics/SUITE.json and a table of its assets."""
    with located("score", suite) as here:
        from dreamfusion_kit.stages import score as stage

        print(stage.run(here.workspace, here.suite))


@command(app, "report", "python cli.py report")
def report(suite: SuiteOption = None) -> None:
    """Write a suite's gallery: one page that works without a network."""
    with located("report", suite) as here:
        from dreamfusion_kit.stages import report as stage

        print(stage.run(here.workspace, here.suite))


@command(app, "scene", "python cli.py scene toy-table")
def scene(
    name: Annotated[str, typer.Argument(metavar="SCENE", help="A scene: scenes/SCENE.yaml.")],
    suite: SuiteOption = None,
) -> None:
    """Put finished assets together: one GLB, one USDZ, stills and a fly-around.

    Needs the extras `render` (Mitsuba, on any CPU) and `usd`.
    """
    with located("scene", suite, name) as here:
        from dreamfusion_kit.stages import scene as stage

        print(stage.run(here.workspace, here.suite, name))


@command(app, "relight", "python cli.py relight red_mug --light studio --light sunset")
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
    """Render an asset's mesh under environment light, with shadows.

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


@command(app, "summary", "python cli.py summary")
def summary(suite: SuiteOption = None) -> None:
    """Print a suite's table and the path of its gallery."""
    from dreamfusion_kit.stages import summary as stage

    here = locate(suite)
    print(stage.table(here.workspace, here.suite))
