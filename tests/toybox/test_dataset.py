"""The data set: determinism, held-out pairs, premultiplied alpha, files."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.schema import BackgroundSection, ConstantBackgroundSection
from dreamfusion_kit.toybox import dataset as module
from dreamfusion_kit.toybox.captions import HELD_OUT
from dreamfusion_kit.toybox.dataset import (
    Dataset,
    load_dataset,
    render_dataset,
    save_dataset,
    training_pairs,
)
from dreamfusion_kit.toybox.settings import DatasetSection
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

PAIRS = [("red", "mug"), ("blue", "duck")]


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "training_pairs", lambda: PAIRS)


def same(first: Dataset, second: Dataset) -> bool:
    return all(
        torch.equal(getattr(first, field.name), getattr(second, field.name))
        for field in dataclasses.fields(Dataset)
    )


def black() -> BackgroundSection:
    return ConstantBackgroundSection(kind="constant", color=(0.0, 0.0, 0.0))


def white() -> BackgroundSection:
    return ConstantBackgroundSection(kind="constant", color=(1.0, 1.0, 1.0))


@pytest.mark.usefixtures("few_pairs")
def test_a_seed_gives_the_same_bytes(dataset_settings: DatasetSection) -> None:
    assert same(render_dataset(dataset_settings), render_dataset(dataset_settings))
    other = dataset_settings.model_copy(update={"seed": 1})
    assert not same(render_dataset(dataset_settings), render_dataset(other))


def test_a_pair_does_not_depend_on_its_neighbours(
    dataset_settings: DatasetSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "training_pairs", lambda: PAIRS)
    both = render_dataset(dataset_settings)
    monkeypatch.setattr(module, "training_pairs", lambda: PAIRS[1:])
    alone = render_dataset(dataset_settings)
    assert torch.equal(both.rgba[1:], alone.rgba)


@pytest.mark.usefixtures("few_pairs")
def test_more_images_than_a_chunk_are_rendered(
    dataset_settings: DatasetSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 2)
    reported: list[tuple[int, int]] = []
    settings = dataset_settings.model_copy(update={"images_per_pair": 5})
    rendered = render_dataset(settings, report=lambda done, total: reported.append((done, total)))
    assert len(rendered) == 10
    assert (
        rendered.object_index.tolist() == [OBJECTS.index("mug")] * 5 + [OBJECTS.index("duck")] * 5
    )
    assert reported == [(1, 2), (2, 2)]


def test_training_pairs_are_all_but_the_held_out() -> None:
    pairs = training_pairs()
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) | HELD_OUT == {(color, name) for color in COLORS for name in OBJECTS}
    assert not set(pairs) & HELD_OUT


def test_held_out_pairs_are_never_rendered(
    dataset_settings: DatasetSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all pairs, by the indices that are stored, textureless images aside."""
    shading = dataset_settings.shading.model_copy(update={"textureless_probability": 0.0})
    camera = dataset_settings.camera.model_copy(update={"image_size_px": 1})
    settings = dataset_settings.model_copy(update={"shading": shading, "camera": camera})
    rendered = render_dataset(settings)
    names = zip(rendered.color_index.tolist(), rendered.object_index.tolist(), strict=True)
    seen = {(tuple(COLORS)[color], OBJECTS[name]) for color, name in names}
    assert len(seen) == len(COLORS) * len(OBJECTS) - len(HELD_OUT)
    assert not seen & HELD_OUT


@pytest.mark.usefixtures("few_pairs")
def test_alpha_is_premultiplied(dataset_settings: DatasetSection) -> None:
    """No colour exceeds its coverage, and white minus black is what is not covered."""
    settings = dataset_settings.model_copy(update={"images_per_pair": 3})
    rendered = render_dataset(settings)
    assert bool((rendered.rgba[..., :3] <= rendered.rgba[..., 3:]).all())
    everything = torch.arange(len(rendered))
    over_black = rendered.images(everything, black(), generator=torch.Generator())
    over_white = rendered.images(everything, white(), generator=torch.Generator())
    uncovered = 1 - rendered.rgba[..., 3:].float() / 255
    torch.testing.assert_close(over_white - over_black, uncovered.expand_as(over_black))
    assert over_white.min() >= 0
    assert over_white.max() <= 1


def test_captions_say_what_is_stored(dataset: Dataset) -> None:
    generator = torch.Generator().manual_seed(0)
    for index, text in enumerate(dataset.captions(torch.arange(12), generator=generator)):
        color_index = int(dataset.color_index[index])
        color = "plaster" if color_index < 0 else tuple(COLORS)[color_index]
        assert color in text
        assert OBJECTS[int(dataset.object_index[index])] in text


def test_files_give_back_the_data_set(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "new" / "set.safetensors")
    assert same(load_dataset(tmp_path / "new" / "set.safetensors"), dataset)


def test_a_missing_or_other_file_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").write_bytes(b"")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("missing", "empty", "other"):
        with pytest.raises(DreamFusionKitError, match=rf"{name}\.safetensors: .*toybox render`"):
            load_dataset(tmp_path / f"{name}.safetensors")
