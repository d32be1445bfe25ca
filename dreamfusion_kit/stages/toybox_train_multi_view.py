"""Fine-tune the latent prior on several views of one object at once."""

from pathlib import Path

import torch

from dreamfusion_kit.stages.toybox_layout import WEIGHTS, settings
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.latent_model import load_latent
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_sheet import multi_view_sheet
from dreamfusion_kit.toybox.train_multi_view import train_multi_view


def run(workspace: Path, device: torch.device) -> Path:
    """Fine-tune the multi-view prior, or resume; write what differs from the latent prior."""
    section = settings(workspace).multi_view
    initial = workspace / section.initial
    model = ToyboxMultiView(load_latent(initial), section.num_views)
    with checkpoints(
        workspace, "toybox_train_multi_view", section, device, reads=[initial]
    ) as scratch:
        report = Losses("multi-view", section)
        train_multi_view(model, section, scratch, device=device, report=report)
        multi_view_sheet(model).save(scratch / "samples.png")
    model.save(workspace / WEIGHTS / "multiview")
    return WEIGHTS / "multiview"
