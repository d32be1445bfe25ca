"""`toybox ...`: the embedded world's prior and judges."""

from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import DeviceOption, command, toybox_app
from dreamfusion_kit.recipe.workspace import locate


@command(toybox_app, "render", "python cli.py toybox render")
def toybox_render() -> None:
    """Render the data sets of the prior and of the CLIP."""
    from dreamfusion_kit.stages import toybox as stage

    stage.render_data(locate().workspace)


@command(toybox_app, "train-prior", "python cli.py toybox train-prior")
def toybox_train_prior(
    device: DeviceOption = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Processes that draw batches; 0 uses this one. A GPU needs about 12.",
        ),
    ] = 0,
) -> None:
    """Train the diffusion prior; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_prior(locate().workspace, devices.pick(device), workers))


@command(toybox_app, "train-clip", "python cli.py toybox train-clip")
def toybox_train_clip(device: DeviceOption = "cpu") -> None:
    """Train the CLIP; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_clip(locate().workspace, devices.pick(device)))


@command(toybox_app, "train-view", "python cli.py toybox train-view")
def toybox_train_view(device: DeviceOption = "cpu") -> None:
    """Train the view classifier; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_view(locate().workspace, devices.pick(device)))


@command(toybox_app, "train-multiview", "python cli.py toybox train-multiview")
def toybox_train_multi_view(device: DeviceOption = "cpu") -> None:
    """Fine-tune the prior on four views of one object at once; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_multi_view(locate().workspace, devices.pick(device)))


@command(toybox_app, "train-vae", "python cli.py toybox train-vae")
def toybox_train_vae(device: DeviceOption = "cpu") -> None:
    """Train the latent world's autoencoder; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_vae(locate().workspace, devices.pick(device)))


@command(toybox_app, "train-latent", "python cli.py toybox train-latent")
def toybox_train_latent(device: DeviceOption = "cpu") -> None:
    """Train the U-Net on the autoencoder's latents; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_latent(locate().workspace, devices.pick(device)))


@command(toybox_app, "train-flow", "python cli.py toybox train-flow")
def toybox_train_flow(device: DeviceOption = "cpu") -> None:
    """Train the rectified flow on the autoencoder's latents; a killed training run resumes."""
    from dreamfusion_kit.stages import devices
    from dreamfusion_kit.stages import toybox as stage

    print(stage.run_train_flow(locate().workspace, devices.pick(device)))


@command(toybox_app, "evaluate", "python cli.py toybox evaluate")
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
