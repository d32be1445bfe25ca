"""Train the rectified flow on the autoencoder's latents, laid out like Stable Diffusion 3."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import VAE, WEIGHTS, latent_inputs, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.flow_model import ToyboxFlow
from dreamfusion_kit.toybox.train_denoiser import train_denoiser
from dreamfusion_kit.toybox.vae_model import load_vae


def run(workspace: Path, device: torch.device) -> Path:
    """Train the flow on latents, or resume; write its diffusers directory."""
    sections = settings(workspace)
    section, renders = sections.flow, sections.shelf
    model = ToyboxFlow(section, load_vae(workspace / VAE, device), workspace / section.text_from)
    reads = latent_inputs(workspace, section.text_from)
    with checkpoints(workspace, "toybox_train_flow", section, [renders], reads=reads) as scratch:
        report = Losses("flow", section)
        train_denoiser(model, section, renders, scratch, device=device, report=report)
    model.save_pretrained(workspace / WEIGHTS / "flow")
    return WEIGHTS / "flow"
