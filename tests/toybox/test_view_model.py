"""The view classifier: given its object, saved to files, read back or refused."""

import json
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.toybox.captions import VIEWS
from dreamfusion_kit.toybox.shapes import DISTINCT_SIDES
from dreamfusion_kit.toybox.view_model import OBJECTS, ViewModel, load_view_model

CHANNELS = (8, 16)


@pytest.fixture
def model() -> ViewModel:
    return ViewModel(CHANNELS, seed=0).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 64, 64, 3, generator=torch.Generator().manual_seed(0))


def test_it_knows_the_objects_that_have_sides() -> None:
    assert set(OBJECTS) == DISTINCT_SIDES


def test_a_seed_gives_the_same_model(model: ViewModel) -> None:
    state = torch.get_rng_state()
    again, other = ViewModel(CHANNELS, seed=0), ViewModel(CHANNELS, seed=1)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert not all(map(torch.equal, model.parameters(), other.parameters()))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_object_steers_the_answer(model: ViewModel, images: torch.Tensor) -> None:
    mug, car = torch.full((3,), OBJECTS.index("mug")), torch.full((3,), OBJECTS.index("car"))
    torch.nn.init.normal_(model.levels[0].object.weight, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(images, mug).shape == (3, len(VIEWS))
        assert not torch.allclose(model(images, mug), model(images, car), atol=1e-4)


def test_views_are_the_words_of_the_largest_logits(model: ViewModel, images: torch.Tensor) -> None:
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(len(VIEWS))[VIEWS.index("back")])
    assert model.views(images, "mug") == ["back"] * 3


def test_larger_images_are_averaged_down(model: ViewModel, images: torch.Tensor) -> None:
    doubled = images.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    index = torch.zeros(3, dtype=torch.long)
    with torch.no_grad():
        torch.testing.assert_close(model(doubled, index), model(images, index))


def test_half_precision_files_give_the_answers_back(
    model: ViewModel, images: torch.Tensor, tmp_path: Path
) -> None:
    model.save(tmp_path / "view")
    loaded = load_view_model(tmp_path / "view")
    index = torch.arange(3)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images, index), model(images, index), rtol=0, atol=1e-2)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_classifier_of_other_objects_is_refused(model: ViewModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["objects"][0] = "zeppelin"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"zeppelin.*train-view"):
        load_view_model(tmp_path)


def test_a_missing_or_damaged_classifier_is_refused(model: ViewModel, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no view classifier.*train-view"):
        load_view_model(tmp_path)
    model.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 16)
    with pytest.raises(WeightsError, match=r"no view classifier"):
        load_view_model(tmp_path)
