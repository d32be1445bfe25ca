"""Train the pixel prior and its text encoder."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import WEIGHTS, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.train_prior import train_prior


def run(workspace: Path, device: torch.device) -> Path:
    """Train the prior, or resume its training; write its diffusers directory."""
    sections = settings(workspace)
    section, renders = sections.prior, sections.prior_shelf
    with checkpoints(workspace, "toybox_train_prior", section, device, [renders]) as scratch:
        report = Losses("prior", section)
        model = train_prior(section, renders, scratch, device=device, report=report)
    model.cpu().save_pretrained(workspace / WEIGHTS / "prior")
    return WEIGHTS / "prior"
