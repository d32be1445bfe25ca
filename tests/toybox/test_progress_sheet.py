"""The sheet of a training: objects across, views down, by the averaged weights alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from dreamfusion_kit.toybox.progress_sheet import sample_sheet, write_sheet
from dreamfusion_kit.toybox.shapes import OBJECTS
from dreamfusion_kit.toybox.training import AveragedWeights

SIZE_PX = 2


class Grey(nn.Module):
    """Draws images of its one number, and remembers what it was asked for."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))
        self.asked: list[list[str]] = []
        self.was_training = False

    def sample(
        self, captions: Sequence[str], *, guidance_scale: float, num_steps: int, seed: int
    ) -> torch.Tensor:
        self.asked.append(list(captions))
        self.was_training |= self.training
        return self.level.detach().expand(len(captions), SIZE_PX, SIZE_PX, 3)


def test_every_object_is_drawn_from_four_sides() -> None:
    model = Grey(0.5)
    assert sample_sheet(model).size == (SIZE_PX * len(OBJECTS), SIZE_PX * 4)
    for captions, view in zip(
        model.asked, ("front", "left side", "right side", "back"), strict=True
    ):
        for caption, name in zip(captions, OBJECTS, strict=True):
            assert caption.endswith(f" {name}, {view} view")


def test_the_averages_draw_and_training_goes_on_unchanged(tmp_path: Path) -> None:
    model = Grey(0.8)
    averages = AveragedWeights(model, 0.5)
    with torch.no_grad():
        model.level.fill_(0.1)
    write_sheet(model, model, averages, tmp_path, 41)
    with Image.open(tmp_path / "samples-000042.png") as sheet:
        assert sheet.getpixel((0, 0)) == (round(0.8 * 255),) * 3
    assert float(model.level.detach()) == pytest.approx(0.1)
    assert model.training
    assert not model.was_training
