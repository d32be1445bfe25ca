"""LoRA on a tiny U-Net: a copy that starts as the prior, learns, and leaves the prior alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.lora import LoraUnet
from dreamfusion_kit.priors.pixel_unet import PixelUnetPrior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import PixelUnetSection as Section
from dreamfusion_kit.records import Cameras

SECTION: dict[str, Any] = {
    "kind": "pixel_unet",
    "source": {"kind": "local", "path": "unused"},
    "dtype": "float32",
    "image_size_px": 8,
}
TIMESTEP = torch.tensor([300, 800])
POSES = torch.eye(4).flatten().repeat(2, 1)


@pytest.fixture
def prior(pipeline: Path) -> PixelUnetPrior:
    return PixelUnetPrior(Section.model_validate(SECTION), pipeline, "cpu")


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def adapter(prior: PixelUnetPrior, seed: int = 0) -> LoraUnet:
    return prior.adapter(3, generator=torch.Generator().manual_seed(seed))


def test_it_starts_as_the_prior_and_the_prior_stays(
    prior: PixelUnetPrior, noisy: torch.Tensor
) -> None:
    text = prior.encode_text(["a mug", "a robot"])
    before = prior.predict(noisy, TIMESTEP, text)
    phi = adapter(prior)
    torch.testing.assert_close(phi(noisy, TIMESTEP, text, POSES), before)
    optimizer = torch.optim.Adam(phi.trainable().values(), lr=0.1)
    for _ in range(2):  # B and the embedding's last layer start at zero and hold A's back
        optimizer.zero_grad()
        phi(noisy, TIMESTEP, text, POSES).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(phi(noisy, TIMESTEP, text, POSES), before, atol=1e-3)
    assert torch.equal(prior.predict(noisy, TIMESTEP, text), before)


def test_only_the_adaptation_learns_and_all_of_it(
    prior: PixelUnetPrior, noisy: torch.Tensor
) -> None:
    text = prior.encode_text(["a mug", "a robot"])
    phi = adapter(prior)
    with torch.no_grad():
        for value in phi.trainable().values():
            value.fill_(0.1)
    phi(noisy, TIMESTEP, text, POSES).square().mean().backward()
    names = phi.trainable()
    assert all(".down" in n or ".up" in n or "class_embedding" in n for n in names)
    assert {name.rpartition(".")[2] for name in names} == {"down", "up", "weight", "bias"}
    for name, value in phi.named_parameters():
        assert (value.grad is not None) == (name in names)
        assert value.grad is None or value.grad.abs().max() > 0, name


def test_frozen_numbers_are_shared_and_not_copied(prior: PixelUnetPrior) -> None:
    prior.predict(torch.zeros(1, 3, 8, 8), TIMESTEP[:1], prior.encode_text(["a mug"]))
    first, second = adapter(prior), adapter(prior, seed=1)
    frozen = {n: p for n, p in first.named_parameters() if not p.requires_grad}
    others = dict(second.named_parameters())
    assert len(frozen) > 20
    assert all(value.data_ptr() == others[name].data_ptr() for name, value in frozen.items())


def test_its_first_numbers_come_from_the_generator(prior: PixelUnetPrior) -> None:
    states = [adapter(prior, seed).trainable() for seed in (0, 0, 1)]
    down = next(name for name in states[0] if name.endswith("down"))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0][down], states[2][down])


def test_the_camera_enters(prior: PixelUnetPrior, noisy: torch.Tensor) -> None:
    text, phi = prior.encode_text(["a mug", "a mug"]), adapter(prior)
    with torch.no_grad():
        for value in phi.trainable().values():
            value.add_(0.05)
    with_pose = phi(noisy, TIMESTEP, text, POSES)
    without = phi(noisy, TIMESTEP, text, torch.zeros_like(POSES))
    assert (with_pose - without).abs().max() > 1e-4


def test_a_second_class_embedding_is_refused(prior: PixelUnetPrior) -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        class_embed_type="timestep",
    )
    with pytest.raises(RecipeError, match="already has a class embedding"):
        LoraUnet(unet, lambda *_: torch.zeros(1), 2, generator=torch.Generator())


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(RecipeError, match="no attention to adapt"):
        LoraUnet(torch.nn.Linear(2, 2), lambda *_: torch.zeros(1), 2, generator=torch.Generator())


def views(step: int) -> Views:
    generator = torch.Generator().manual_seed(step)
    pose = torch.randn(2, 4, 4, generator=generator)
    angles = torch.tensor([0.0, 120.0])
    cameras = Cameras(pose, angles, angles, torch.zeros(2), torch.ones(2), 8, 8)
    return Views(torch.rand(2, 3, 8, 8, generator=generator), torch.zeros(2, 8, 8), cameras)


def test_vsd_on_a_unet_resumes_to_the_bit(prior: PixelUnetPrior) -> None:
    section = load_recipe(Path(__file__).parents[2] / "recipes" / "toybox-vsd.yaml").guidance
    words = {"left": "left", "right": "right", "overhead": "front"}  # 16 letters fit
    short = section.view_prompts.model_copy(update=words)
    section = section.model_copy(update={"view_prompts": short})
    prompts = guidance_prompts("a", section)
    features = PromptFeatures.of(prior.encode_text(list(prompts.values())), prompts)

    def build() -> Any:
        generator = torch.Generator().manual_seed(5)
        return build_guidance(section, prior, features, generator=generator)

    def draw(step: int) -> Callable[[str], torch.Generator]:
        return lambda stream: torch.Generator().manual_seed(100 * step + len(stream))

    whole, resumed = build(), build()
    for step in range(3):
        whole.guide(views(step), step, draw(step))
    saved = {name: tensor.detach().clone() for name, tensor in whole.state_tensors().items()}
    assert {name.split("/")[0] for name in saved} == {"phi", "optimizer"}
    resumed.load_state_tensors(saved)
    for step in range(3, 6):
        expected = whole.guide(views(step), step, draw(step)).gradient
        assert torch.equal(resumed.guide(views(step), step, draw(step)).gradient, expected)
    assert expected.abs().max() > 0
