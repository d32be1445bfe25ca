"""The judge's training: a kill changes no byte."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import ClipTrainingSection
from dreamfusion_kit.toybox.train_clip import train_clip


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: ClipTrainingSection, dataset: Dataset, scratch: Path, *, kill_at: int | None = None
) -> list[torch.Tensor]:
    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    device = torch.device("cpu")
    model = train_clip(settings, dataset, scratch, device=device, report=report)
    return [parameter.detach() for parameter in model.parameters()]


def test_a_killed_training_ends_with_the_same_bytes(
    clip_settings: ClipTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(clip_settings, dataset, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(clip_settings, dataset, tmp_path / "killed", kill_at=2)
    assert all(map(torch.equal, train(clip_settings, dataset, tmp_path / "killed"), whole))
