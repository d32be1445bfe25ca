"""The published models have the number of parameters that their publishers give."""

import pytest

from dreamfusion_kit.memory.architectures import (
    AURA_FLOW,
    DEEPFLOYD_IF_XL,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    STABLE_DIFFUSION_35_MEDIUM,
    STABLE_DIFFUSION_XL,
    Components,
)
from dreamfusion_kit.memory.prior import on_meta


def count(parts: Components, name: str) -> int:
    return sum(value.numel() for value in on_meta(parts[name], "float16").parameters())


@pytest.mark.parametrize(
    ("parts", "name", "published", "half_a_digit"),
    [
        (STABLE_DIFFUSION_1, "unet", 859_520_964, 0),
        (STABLE_DIFFUSION_2, "unet", 865_910_724, 0),
        (STABLE_DIFFUSION_XL, "unet", 2_567_463_684, 0),
        (STABLE_DIFFUSION_1, "vae", 83_653_863, 0),
        (DEEPFLOYD_IF_XL, "unet", 4.3e9, 0.05e9),
        (STABLE_DIFFUSION_35_MEDIUM, "transformer", 2.24e9, 0.01e9),
        (AURA_FLOW, "transformer", 6.8e9, 0.1e9),
    ],
)
def test_parameters(parts: Components, name: str, published: float, half_a_digit: float) -> None:
    assert abs(count(parts, name) - published) <= half_a_digit
