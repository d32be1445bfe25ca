"""Train the autoencoder of the latent world."""

import sys
from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import VAE, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.train_vae import reconstruction_psnr, train_vae
from dreamfusion_kit.toybox.vae_model import save_vae


def run(workspace: Path, device: torch.device) -> Path:
    """Train the autoencoder, or resume; write it, and print its PSNR."""
    sections = settings(workspace)
    section, renders = sections.vae, sections.shelf
    with checkpoints(workspace, "toybox_train_vae", section, device, [renders]) as scratch:
        report = Losses("vae", section)
        vae = train_vae(section, renders, scratch, device=device, report=report)
    psnr = reconstruction_psnr(vae, section, renders)
    print(f"vae: {psnr:.2f} dB on fresh renders", file=sys.stderr)
    save_vae(vae, workspace / VAE)
    return VAE
