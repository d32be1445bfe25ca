"""The sheet holds every sample of the first round in its place, and words beside them."""

import numpy as np
import torch

from dreamfusion_kit.toybox.sample_sheet import draw_sheet
from dreamfusion_kit.toybox.samples import SAMPLED_VIEWS, Samples, prompt_batches
from dreamfusion_kit.toybox.shapes import OBJECTS

SIZE_PX = 16


def painted(blue: float) -> Samples:
    """Red encodes the object, green the side; later rounds are black."""
    prompts = [prompt for batch in prompt_batches(every_side=False) for prompt in batch]
    images = torch.zeros(len(prompts), SIZE_PX, SIZE_PX, 3)
    for image, prompt in zip(images, prompts, strict=True):
        if prompt.round_index == 0:
            red = OBJECTS.index(prompt.object_name) / 20
            green = SAMPLED_VIEWS.index(prompt.view) / 4
            image[:] = torch.tensor([red, green, blue])
    return Samples(tuple(prompts), images)


def test_every_sample_is_in_its_row_and_column() -> None:
    scales = {1.0: 0.4, 7.5: 0.8}
    sheet = np.asarray(draw_sheet({scale: painted(blue) for scale, blue in scales.items()}))
    for blue in scales.values():
        for row in range(len(SAMPLED_VIEWS)):
            for column in range(len(OBJECTS)):
                color = np.round(np.array([column / 20, row / 4, blue]) * 255).astype(np.uint8)
                rows, columns = np.nonzero((sheet == color).all(axis=-1))
                assert len(rows) == SIZE_PX**2, (row, column)
                assert np.ptp(rows) == np.ptp(columns) == SIZE_PX - 1
    assert not (sheet == 0).all(axis=-1).any()  # nothing of later rounds


def test_rows_and_columns_are_labelled() -> None:
    sheet = np.asarray(draw_sheet({1.0: painted(0.4)}))
    assert (sheet[:18].min(axis=(0, 2)) < 128).any()
    assert (sheet[18 : 18 + SIZE_PX, :86] < 128).any()
