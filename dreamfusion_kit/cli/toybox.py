"""`toybox ...`: the embedded world's priors and judges; `toybox/dvc.yaml` runs them in order."""

from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import DeviceOption, command, toybox_app
from dreamfusion_kit.cli.stages import located


@command(toybox_app, "render", "python cli.py toybox render")
def toybox_render() -> None:
    """Render the data sets that the judges learn from."""
    with located("toybox", None) as here:
        from dreamfusion_kit.stages import toybox as stage

        for path in stage.run(here.workspace):
            print(path)


@command(toybox_app, "train-prior", "python cli.py toybox train-prior")
def toybox_train_prior(device: DeviceOption = "cpu") -> None:
    """Train the diffusion prior; a killed training run resumes."""
    with located("toybox_train_prior", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_prior as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-clip", "python cli.py toybox train-clip")
def toybox_train_clip(device: DeviceOption = "cpu") -> None:
    """Train the CLIP; a killed training run resumes."""
    with located("toybox_train_clip", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_clip as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-view", "python cli.py toybox train-view")
def toybox_train_view(device: DeviceOption = "cpu") -> None:
    """Train the view classifier; a killed training run resumes."""
    with located("toybox_train_view", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_view as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-multiview", "python cli.py toybox train-multiview")
def toybox_train_multi_view(device: DeviceOption = "cpu") -> None:
    """Fine-tune the prior on four views of one object at once; a killed training run resumes."""
    with located("toybox_train_multi_view", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_multi_view as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-vae", "python cli.py toybox train-vae")
def toybox_train_vae(device: DeviceOption = "cpu") -> None:
    """Train the latent world's autoencoder; a killed training run resumes."""
    with located("toybox_train_vae", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_vae as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-latent", "python cli.py toybox train-latent")
def toybox_train_latent(device: DeviceOption = "cpu") -> None:
    """Train the U-Net on the autoencoder's latents; a killed training run resumes."""
    with located("toybox_train_latent", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_latent as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "train-flow", "python cli.py toybox train-flow")
def toybox_train_flow(device: DeviceOption = "cpu") -> None:
    """Train the rectified flow on the autoencoder's latents; a killed training run resumes."""
    with located("toybox_train_flow", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_train_flow as stage

        print(stage.run(here.workspace, devices.pick(device)))


@command(toybox_app, "evaluate", "python cli.py toybox evaluate")
def toybox_evaluate(
    device: DeviceOption = "cpu",
    sheet: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the sheet of samples.")
    ] = Path("docs/images/toybox-samples.png"),
) -> None:
    """Measure the judges on true renders, and the prior's samples by the judges."""
    with located("toybox_evaluate", None) as here:
        from dreamfusion_kit.stages import devices
        from dreamfusion_kit.stages import toybox_evaluate as stage

        print(stage.run(here.workspace, devices.pick(device), sheet=sheet))
