"""What the stages that train the priors on latents share: the run from a model to its files."""

from pathlib import Path

import torch

from dreamfusion_kit.identity.stage_name import ToyboxTraining
from dreamfusion_kit.stages.toybox_layout import WEIGHTS, latent_inputs, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.denoiser import Denoiser
from dreamfusion_kit.toybox.latent_settings import DenoiserTrainingSection
from dreamfusion_kit.toybox.train_denoiser import train_denoiser


def train_on_latents(
    workspace: Path,
    code: ToyboxTraining,
    model: Denoiser,
    section: DenoiserTrainingSection,
    device: torch.device,
) -> Path:
    """Train `model`, or resume; write its diffusers directory.

    `code` is the stage's name, after which its checkpoints and its folder of weights are called.
    """
    name = code.removeprefix("toybox_train_")
    renders = settings(workspace).shelf
    reads = latent_inputs(workspace, section.text_from)
    with checkpoints(workspace, code, section, device, [renders], reads=reads) as scratch:
        report = Losses(name, section)
        train_denoiser(model, section, renders, scratch, device=device, report=report)
    model.save_pretrained(workspace / WEIGHTS / name)
    return WEIGHTS / name
