"""The prior's training: a kill changes no byte, the sheet changes nothing."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamfusion_kit.toybox import train_prior as module
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import PriorSettings
from dreamfusion_kit.toybox.shapes import OBJECTS

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: PriorSettings, dataset: Dataset, scratch: Path, *, kill_at: int | None = None
) -> list[torch.Tensor]:
    """Return the trained parameters; raise `KilledError` as step `kill_at` is reported."""

    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    model = module.train_prior(settings, dataset, scratch, device=CPU, report=report)
    return [parameter.detach() for parameter in model.parameters()]


def test_a_killed_training_ends_with_the_same_bytes(
    prior_settings: PriorSettings, dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(prior_settings, dataset, tmp_path / "whole")
    with pytest.raises(KilledError):  # one step past the checkpoint at step 2
        train(prior_settings, dataset, tmp_path / "killed", kill_at=2)
    resumed = train(prior_settings, dataset, tmp_path / "killed")
    assert all(map(torch.equal, resumed, whole))


def test_training_moves_the_weights(
    prior_settings: PriorSettings, dataset: Dataset, tmp_path: Path
) -> None:
    short = prior_settings.model_copy(update={"num_steps": 2})
    one = train(short, dataset, tmp_path / "one")
    other = train(short.model_copy(update={"learning_rate": 1e-2}), dataset, tmp_path / "other")
    assert not all(map(torch.equal, one, other))


def test_a_sample_sheet_changes_nothing(
    prior_settings: PriorSettings,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SHEET_STEPS", 2)
    without = train(prior_settings, dataset, tmp_path / "without")
    drawing = prior_settings.model_copy(update={"sample_every_steps": 2})
    assert all(map(torch.equal, train(drawing, dataset, tmp_path / "with"), without))
    sheets = sorted((tmp_path / "with").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["samples-000002.png", "samples-000004.png"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.size == (16 * len(OBJECTS), 16 * 2)
