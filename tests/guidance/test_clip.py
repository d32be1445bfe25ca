"""Dream Fields' loss on a model that likes one colour: gradients by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.priors.base import ImageTextModel
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import ClipGuidanceSection, ViewPromptsSection


class Likes(ImageTextModel):
    """Likeness is the image's mean, times the text's number."""

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        return TextFeatures({"liking": torch.ones(len(prompts), 1)})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * images

    def similarity(self, pixels: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        return pixels.mean(dim=(1, 2, 3)) * text.tensors["liking"][:, 0]


@pytest.fixture
def section(view_prompts: Callable[..., ViewPromptsSection]) -> ClipGuidanceSection:
    falling = {"start": 0.5, "end": 0.1, "from_step": 0, "to_step": 10}
    return ClipGuidanceSection.model_validate(
        {
            "kind": "clip",
            "transmittance_lambda": 0.5,
            "opacity_target": falling,
            "view_prompts": view_prompts(),
        }
    )


def guide(section: ClipGuidanceSection, views: Views, step: int) -> Any:
    keys = ["front", "left", "right", "back", "overhead"]
    likings = torch.tensor([[1.0], [3.0], [0], [0], [0]])
    prompts = PromptFeatures(TextFeatures({"liking": likings}), keys)
    built = build_guidance(section, Likes(), prompts, generator=torch.Generator())
    assert built.state_tensors() == {}
    return built.guide(views, step, lambda _: pytest.fail("nothing is drawn"))


def opaque(views: Views, *opacities: float) -> Views:
    opacity = torch.tensor(opacities)[:, None, None].expand_as(views.opacity)
    return Views(views.images, opacity, views.cameras)


def test_gradients_on_image_and_opacity(
    section: ClipGuidanceSection, views: Callable[..., Views]
) -> None:
    """Likeness 2 * mean * text, mean over two images; the front view's text is 1, the left's 3."""
    seen = opaque(views(torch.rand(2, 3, 4, 4), [0.0, 90.0]), 0.8, 0.3)
    output = guide(section, seen, 0)
    per_pixel = 2 / (3 * 4 * 4) / 2
    expected = -per_pixel * torch.tensor([1.0, 3.0])[:, None, None, None].expand(2, 3, 4, 4)
    torch.testing.assert_close(output.gradient, expected)
    # At step 0 the target is 0.5: emptiness is rewarded above it and not below.
    rewarded = torch.tensor([0.5 / 16 / 2, 0.0])[:, None, None].expand(2, 4, 4)
    torch.testing.assert_close(output.opacity_gradient, rewarded)


def test_the_target_falls(section: ClipGuidanceSection, views: Callable[..., Views]) -> None:
    seen = opaque(views(torch.rand(1, 3, 4, 4)), 0.3)
    assert guide(section, seen, 0).opacity_gradient.abs().max() == 0
    assert guide(section, seen, 10).opacity_gradient.min() > 0


def test_each_guidance_needs_its_own_kind_of_teacher(
    section: ClipGuidanceSection, guidance: Callable[..., Any], gaussian: Any
) -> None:
    prompts = PromptFeatures(TextFeatures({"liking": torch.ones(1, 1)}), ["front"])
    for wrong, teacher in ((section, gaussian([0.5], 0.0, 1.0)), (guidance(), Likes())):
        with pytest.raises(RecipeError, match=r"change prior\.kind"):
            build_guidance(wrong, teacher, prompts, generator=torch.Generator())
