"""The one guidance formula, in the one convention; all texts in one call of the prior."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.classifier_free import combine, guided_epsilon, rescale
from dreamfusion_kit.guidance.conditioning import conditioning_for
from dreamfusion_kit.guidance.perp_neg import combine_perpendicular

PERP_NEG = {
    "front_at_side": (4.0, 0.5, -2.426),
    "side_at_front": (4.0, 0.5, -2.426),
    "side_at_back": (1.0, 0.5, -0.606),
    "front_at_back": (1.0, 0.5, 0.967),
}
NOISY = torch.linspace(-2, 1, 36, dtype=torch.float64).reshape(3, 3, 2, 2)
TIMESTEP = torch.tensor([0, 1, 1])


def full(value: float) -> torch.Tensor:
    return torch.full((1, 3, 2, 2), value, dtype=torch.float64)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 2.0), (1.0, 5.0), (7.5, 24.5)])
def test_the_scale_follows_diffusers(scale: float, expected: float) -> None:
    torch.testing.assert_close(combine(full(2.0), full(5.0), scale), full(expected))


def test_dreamfusions_omega_100_is_scale_101() -> None:
    unconditional, conditional, omega = full(0.3), full(-0.7), 100.0
    dreamfusion = (1 + omega) * conditional - omega * unconditional
    torch.testing.assert_close(combine(unconditional, conditional, 101.0), dreamfusion)


def test_rescale_restores_the_conditionals_deviation_image_by_image() -> None:
    """Lin et al. 2023, s. 3.4."""
    generator = torch.Generator().manual_seed(0)
    conditional = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    guided = conditional * torch.tensor([3.0, 0.5])[:, None, None, None] + 0.2
    restored = rescale(guided, conditional, 1.0)
    image = (1, 2, 3)
    torch.testing.assert_close(restored.std(dim=image), conditional.std(dim=image))
    torch.testing.assert_close(rescale(guided, conditional, 0.0), guided)
    torch.testing.assert_close(rescale(guided, conditional, 0.7), 0.7 * restored + 0.3 * guided)


def test_plain_guidance_asks_twice_and_rescale_restores_the_deviation(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    gaussian: Any,
) -> None:
    # A width that depends on the level makes the guided noise wider than the conditional.
    prior = gaussian([0.9, 0.3], 0.3, 0.6)
    texts = noisy_views(NOISY, NOISY, 0, conditional=0.9).conditioning
    plain = guided_epsilon(guidance(), prior, NOISY, TIMESTEP, texts)
    with torch.no_grad():
        unconditional = prior.predict(NOISY, TIMESTEP, texts.unconditional)
        conditional = prior.predict(NOISY, TIMESTEP, texts.conditional)
    torch.testing.assert_close(plain, combine(unconditional, conditional, 101.0))
    assert prior.calls == [6, 3, 3]
    rescaled = guided_epsilon(guidance(guidance_rescale=1.0), prior, NOISY, TIMESTEP, texts)
    torch.testing.assert_close(rescaled.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))


def test_perp_neg_in_a_batch_is_perp_neg_alone(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    gaussian: Any,
) -> None:
    section = guidance(perp_neg=PERP_NEG, guidance_scale=7.5)
    features = prompts(section, front=0.3, left=-0.5, right=0.2, back=0.8, negative=0.1)
    prior, azimuths = gaussian([0.9, 0.3], 0.3, 0.6), [20.0, 100.0, -170.0]
    batch = conditioning_for(section, prior, features, views(NOISY, azimuths).cameras)
    together = guided_epsilon(section, prior, NOISY, TIMESTEP, batch)
    assert prior.calls == [12]
    for row in range(3):
        own = slice(row, row + 1)
        cameras = views(NOISY[own], azimuths[own]).cameras
        texts = conditioning_for(section, prior, features, cameras)
        alone = guided_epsilon(section, prior, NOISY[own], TIMESTEP[own], texts)
        torch.testing.assert_close(together[own], alone)


def test_perp_neg_reads_the_texts_of_the_camera(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    gaussian: Any,
) -> None:
    """At 45 degrees: half front and half left, both negatives weighing 4 exp(-1/4) - 2.426."""
    section = guidance(perp_neg=PERP_NEG, guidance_scale=7.5)
    features = prompts(section, front=0.4, left=-0.6)
    prior, noisy, timestep = gaussian([0.9], 0.3, 0.6), NOISY[:1], TIMESTEP[:1]
    texts = conditioning_for(section, prior, features, views(noisy, [45.0]).cameras)
    middle = texts.conditional.tensors["shift"]
    torch.testing.assert_close(middle, torch.full_like(middle, -0.1))

    def at(shift: float) -> torch.Tensor:
        shifted = gaussian([0.9], 0.3 + shift, 0.6)
        with torch.no_grad():
            return shifted.predict(noisy, timestep, features.select(["negative"]))

    weights = torch.full((1, 2), 4 * torch.tensor(-0.25).exp().item() - 2.426).double()
    expected = combine_perpendicular(at(0.0), at(-0.1), [at(0.4), at(-0.6)], weights, 7.5)
    found = guided_epsilon(section, prior, noisy, timestep, texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
