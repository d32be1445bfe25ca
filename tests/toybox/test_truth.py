"""What the toybox knows of a prompt's object."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.toybox.captions import HELD_OUT, caption, caption_pool
from dreamfusion_kit.toybox.shapes import COLORS
from dreamfusion_kit.toybox.truth import toybox_truth
from dreamfusion_kit.toybox.view_model import ViewModel

NOWHERE = Path("nowhere")


def test_the_cube_is_a_cube_of_its_color() -> None:
    truth = toybox_truth("A red cube", view_weights=NOWHERE)
    assert truth is not None
    assert truth.caption == "a red cube"
    assert truth.sides is None  # the same from all sides, so no classifier is loaded
    assert truth.distances(torch.zeros(1, 3)) < 0
    assert truth.distances(torch.tensor([[truth.bounding_radius, 0, 0]])) > 0
    cameras = orbit_cameras(
        torch.tensor([0.0]), elevation_deg=30.0, radius=2.6, fov_y_deg=45.0, image_size_px=32
    )
    light = headlight(cameras, ambient=1.0, diffuse=0.0, textureless=False)
    image = truth.render(cameras, light, torch.zeros(1, 32, 32, 3))
    assert image[0, 16, 16].tolist() == pytest.approx(COLORS["red"], abs=1e-3)


def test_captions_of_the_object_are_known_in_every_color() -> None:
    truth = toybox_truth("a blue cone", view_weights=NOWHERE)
    assert truth is not None
    named = [text for text in caption_pool() if truth.names_object(text)]
    assert named == [caption(color, "cone") for color in COLORS]
    assert not truth.names_object("a traffic cone on a road")
    assert truth.plaster[truth.own_plaster] == "a white plaster cone"


def test_held_out_pairs_are_marked() -> None:
    pairs = [(color, "cone") for color in COLORS]
    found = [toybox_truth(caption(*pair), view_weights=NOWHERE) for pair in pairs]
    assert [truth is not None and truth.held_out for truth in found] == [
        pair in HELD_OUT for pair in pairs
    ]


@pytest.mark.parametrize("prompt", ["a corgi", "a red mug on a table", "a mauve mug", ""])
def test_nothing_is_known_of_other_prompts(prompt: str) -> None:
    assert toybox_truth(prompt, view_weights=NOWHERE) is None


def test_objects_with_sides_need_the_classifier(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no view classifier"):
        toybox_truth("a red mug", view_weights=NOWHERE)
    ViewModel((8,), seed=0).save(tmp_path)
    truth = toybox_truth("a red mug", view_weights=tmp_path)
    assert truth is not None
    assert truth.sides is not None
    assert len(truth.sides(torch.zeros(3, 64, 64, 3))) == 3
