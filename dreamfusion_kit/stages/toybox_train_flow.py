"""Train the rectified flow on the autoencoder's latents, laid out like Stable Diffusion 3."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_latent_training import train_on_latents
from dreamfusion_kit.stages.toybox_layout import VAE, settings
from dreamfusion_kit.toybox.flow_model import ToyboxFlow
from dreamfusion_kit.toybox.vae_model import load_vae


def run(workspace: Path, device: torch.device) -> Path:
    """Train the flow on latents, or resume; write its diffusers directory."""
    section = settings(workspace).flow
    model = ToyboxFlow(section, load_vae(workspace / VAE, device), workspace / section.text_from)
    return train_on_latents(workspace, "toybox_train_flow", model, section, device)
