"""The view classifier's training: a kill changes no byte, and it learns what it is shown."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox.captions import VIEWS
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import ViewTrainingSection
from dreamfusion_kit.toybox.shapes import OBJECTS
from dreamfusion_kit.toybox.train_view import train_view
from dreamfusion_kit.toybox.view_model import ViewModel


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: ViewTrainingSection, dataset: Dataset, scratch: Path, *, kill_at: int | None = None
) -> ViewModel:
    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    return train_view(settings, dataset, scratch, device=torch.device("cpu"), report=report)


def test_a_killed_training_ends_with_the_same_bytes(
    view_settings: ViewTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(view_settings, dataset, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(view_settings, dataset, tmp_path / "killed", kill_at=2)
    resumed = train(view_settings, dataset, tmp_path / "killed")
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))


def test_it_learns_the_sides_of_known_objects_alone(
    view_settings: ViewTrainingSection, tmp_path: Path
) -> None:
    """A mug's colour gives its side; balls, which the training must not show, contradict it."""
    is_mug = torch.arange(32) < 16
    place = torch.arange(32) % 4
    colors = torch.tensor([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [255] * 4])
    shown = colors[torch.where(is_mug, place, 3 - place)]
    dataset = Dataset(
        rgba=shown[:, None, None].expand(-1, 16, 16, 4).to(torch.uint8),
        object_index=torch.where(is_mug, OBJECTS.index("mug"), OBJECTS.index("ball")),
        color_index=torch.zeros(32, dtype=torch.long),
        azimuth_deg=torch.tensor([0.0, 90.0, 180.0, 0.0])[place],
        elevation_deg=torch.tensor([0.0, 0.0, 0.0, 80.0])[place],
    )
    longer = {"num_steps": 40, "decay_steps": 20, "batch_size": 16, "learning_rate": 1e-2}
    model = train(view_settings.model_copy(update=longer), dataset, tmp_path)
    images = dataset.rgba[:4, ..., :3].float() / 255
    assert model.views(images, "mug") == list(VIEWS)
