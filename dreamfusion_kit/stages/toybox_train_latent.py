"""Train the U-Net on the autoencoder's latents, laid out like Stable Diffusion."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import VAE, WEIGHTS, latent_inputs, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.latent_model import make_latent
from dreamfusion_kit.toybox.train_denoiser import train_denoiser
from dreamfusion_kit.toybox.vae_model import load_vae


def run(workspace: Path, device: torch.device) -> Path:
    """Train the U-Net on latents, or resume; write its diffusers directory."""
    sections = settings(workspace)
    section, renders = sections.latent, sections.shelf
    model = make_latent(section, load_vae(workspace / VAE, device), workspace / section.text_from)
    reads = latent_inputs(workspace, section.text_from)
    with checkpoints(workspace, "toybox_train_latent", section, [renders], reads=reads) as scratch:
        report = Losses("latent", section)
        train_denoiser(model, section, renders, scratch, device=device, report=report)
    model.save_pretrained(workspace / WEIGHTS / "latent")
    return WEIGHTS / "latent"
