"""Train the CLIP that judges results."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import DATASETS, WEIGHTS, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.dataset import load_dataset
from dreamfusion_kit.toybox.train_clip import train_clip


def run(workspace: Path, device: torch.device) -> Path:
    """Train the CLIP, or resume its training; write its transformers directory."""
    section = settings(workspace).clip
    path = workspace / DATASETS["clip_dataset"]
    dataset = load_dataset(path)
    with checkpoints(workspace, "toybox_train_clip", section, device, reads=[path]) as scratch:
        report = Losses("clip", section)
        model = train_clip(section, dataset, scratch, device=device, report=report)
    model.cpu().save_pretrained(workspace / WEIGHTS / "clip")
    return WEIGHTS / "clip"
