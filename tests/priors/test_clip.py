"""The differentiable CLIP against transformers' own preprocessing and features."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPModel

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.clip import ClipTeacher
from dreamfusion_kit.recipe.schema import ClipPriorSection


@pytest.fixture
def directory(clip_directory: Path) -> Path:
    return clip_directory


@pytest.fixture
def teacher(directory: Path) -> ClipTeacher:
    source = {"kind": "local", "path": "unused"}
    section = ClipPriorSection.model_validate({"kind": "clip", "source": source})
    built = build_prior(section, directory, "cpu")
    assert isinstance(built, ClipTeacher)
    return built


def images(size: int) -> torch.Tensor:
    """Return two smooth images, whose bytes round little."""
    ramp = torch.linspace(0, 1, size)
    first = torch.stack(
        [ramp.expand(size, size), ramp[:, None].expand(size, size), ramp.expand(size, size).flip(1)]
    )
    return torch.stack([first, first.flip(0)])


def test_it_sees_what_transformers_sees(teacher: ClipTeacher, directory: Path) -> None:
    model: Any = CLIPModel.from_pretrained(directory)
    processor = CLIPImageProcessorPil.from_pretrained(directory)
    seen = images(32)
    bytes_of = [(image * 255).round().byte().permute(1, 2, 0).numpy() for image in seen]
    pixels = processor(bytes_of, input_data_format="channels_last", return_tensors="pt")
    text = teacher.encode_text(["a red mug", "a blue robot"])
    with torch.no_grad():
        features = model.get_image_features(**pixels).pooler_output
        found = teacher.similarity(teacher.to_model_space(seen), text)
    expected = torch.cosine_similarity(features, text.tensors["clip"])
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_text_features_are_units_and_do_not_depend_on_the_others(teacher: ClipTeacher) -> None:
    prompts = ["a red mug", "a blue robot"]
    together = teacher.encode_text(prompts).tensors["clip"]
    alone = [teacher.encode_text([prompt]).tensors["clip"] for prompt in prompts]
    torch.testing.assert_close(together, torch.cat(alone))
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_the_gradient_on_the_image_is_right(teacher: ClipTeacher) -> None:
    text = teacher.encode_text(["a red mug", "a blue robot"])
    seen = images(40).requires_grad_()  # resized on the way

    def total(moved: torch.Tensor) -> torch.Tensor:
        return teacher.similarity(teacher.to_model_space(moved), text).sum()

    (gradient,) = torch.autograd.grad(total(seen), seen)
    direction = gradient.sign()  # far from rounding: the steepest change per pixel
    with torch.no_grad():
        slope = (total(seen + 0.01 * direction) - total(seen - 0.01 * direction)) / 0.02
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=0.02)
    assert gradient.abs().max() > 0


def test_a_prompt_that_would_be_cut_is_refused(teacher: ClipTeacher) -> None:
    with pytest.raises(RecipeError, match=r"tokens .* reads at most 16; shorten"):
        teacher.encode_text(["a very long story of a mug"])


def _truncate(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _drop_a_weight(directory: Path) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    del tensors["visual_projection.weight"]
    save_file(tensors, file, metadata={"format": "pt"})


def _forget_the_colors(directory: Path) -> None:
    (directory / "preprocessor_config.json").unlink()


@pytest.mark.parametrize("damage", [_truncate, _drop_a_weight, _forget_the_colors])
def test_damage_is_named(directory: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "judge"))
    damage(copy)
    with pytest.raises(WeightsError, match=r"judge\S*: .*fetch (it|the model) again"):
        ClipTeacher(copy, "cpu")
