"""Train the U-Net on the autoencoder's latents, laid out like Stable Diffusion."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_latent_training import train_on_latents
from dreamfusion_kit.stages.toybox_layout import VAE, settings
from dreamfusion_kit.toybox.latent_model import make_latent
from dreamfusion_kit.toybox.vae_model import load_vae


def run(workspace: Path, device: torch.device) -> Path:
    """Train the U-Net on latents, or resume; write its diffusers directory."""
    section = settings(workspace).latent
    model = make_latent(section, load_vae(workspace / VAE, device), workspace / section.text_from)
    return train_on_latents(workspace, "toybox_train_latent", model, section, device)
