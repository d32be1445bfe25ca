"""Train the view classifier, which says what side of an object is seen."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import DATASETS, WEIGHTS, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.dataset import load_dataset, merged
from dreamfusion_kit.toybox.train_view import train_view


def run(workspace: Path, device: torch.device) -> Path:
    """Train the view classifier, or resume; write its weights and what they mean."""
    section = settings(workspace).view
    paths = [workspace / path for path in DATASETS.values()]
    dataset = merged([load_dataset(path) for path in paths])
    with checkpoints(workspace, "toybox_train_view", section, device, reads=paths) as scratch:
        report = Losses("view", section)
        model = train_view(section, dataset, scratch, device=device, report=report)
    model.cpu().save(workspace / WEIGHTS / "view")
    return WEIGHTS / "view"
