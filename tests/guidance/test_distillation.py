"""What all score distillations share: one batched call, no gradient inside, the way back."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.distillation import Distillation
from dreamfusion_kit.guidance.sds import sds_residual
from dreamfusion_kit.priors.base import NoiseSchedule, Prior
from dreamfusion_kit.priors.text import TextFeatures


class Recorder(Prior):
    """Answers with a parameter, so that any gradient through it would be seen."""

    def __init__(self) -> None:
        self.schedule = NoiseSchedule(torch.tensor([0.5] * 4, dtype=torch.float64))
        self.answer = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))
        self.calls: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        raise AssertionError("a guidance has its texts already")

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * images - 1

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        self.calls.append(len(noisy))
        assert not noisy.requires_grad
        return (self.answer + text.tensors["shift"].reshape(-1, 1, 1, 1)).expand_as(noisy)


CALLS = {"sds": [8], "sjc": [8], "csd": [8]}


@pytest.mark.parametrize("kind", ["sds", "sjc", "csd", "ism"])
def test_calls_are_batched_and_carry_no_gradient(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    draw: Callable[[int], Any],
    kind: str,
) -> None:
    section, prior = guidance(kind), Recorder()
    built = build_guidance(section, prior, prompts(section), generator=torch.Generator())
    assert isinstance(built, Guidance)
    weights = torch.nn.Parameter(torch.rand(4, 3, 5, 5, dtype=torch.float64))
    output = built.guide(views(weights * 1.0), 0, draw(0))
    assert prior.calls[-1] == 8  # four images, with and without their text
    assert prior.calls == CALLS.get(kind, prior.calls)
    assert not output.gradient.requires_grad
    assert output.gradient.shape == (4, 3, 5, 5)
    assert prior.answer.grad is None
    assert weights.grad is None
    assert built.state_tensors() == {}
    with pytest.raises(ValueError, match="expected none"):
        built.load_state_tensors({"phi": torch.zeros(1)})


def test_the_gradient_is_the_batch_mean_of_what_flows_through_the_images(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
) -> None:
    """The text decides the residual here: eps_hat = 0.25 + 3 (1 - 0) at scale 3."""
    prior = Recorder()
    images = torch.rand(4, 3, 5, 5, dtype=torch.float64)
    section = guidance(guidance_scale=3.0, timestep_min=0.0, timestep_max=1.0)
    residual = partial(sds_residual, section, prior)
    built = Distillation(section, prior, prompts(section, front=1.0), residual)
    output = built.guide(views(images), 0, lambda _: torch.Generator().manual_seed(7))

    same = torch.Generator().manual_seed(7)
    timestep = torch.randint(0, 4, (4,), generator=same)  # the timesteps come first
    noise = torch.randn(4, 3, 5, 5, generator=same, dtype=torch.float64)
    expected = 2 * 0.5 * (3.25 - noise) / 4  # d(2x - 1)/dx, sigma^2, batch
    torch.testing.assert_close(output.gradient, expected)
    assert output.opacity_gradient is None
    torch.testing.assert_close(output.timesteps, timestep / 4)


@pytest.mark.parametrize("kind", ["sds", "sjc"])
def test_descending_the_gradient_finds_the_data(
    guidance: Callable[..., Any],
    gaussian: Any,
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    draw: Callable[[int], Any],
    kind: str,
) -> None:
    levels = torch.linspace(0.99, 0.3, 20).tolist()
    prior = gaussian(levels, 0.8, 0.05)
    image = torch.full((2, 3, 4, 4), 0.1, dtype=torch.float64)
    section = guidance(
        kind, guidance_scale=1.0, timestep_min=0.1, timestep_max=1.0, timestep_weight="uniform"
    )
    built = build_guidance(section, prior, prompts(section), generator=torch.Generator())
    for step in range(200):
        image = image - 0.2 * built.guide(views(image), step, draw(step)).gradient
    torch.testing.assert_close(image, torch.full_like(image, 0.8), atol=0.04, rtol=0)
