"""The published models have the number of parameters that their publishers give."""

import pytest

from dreamfusion_kit.memory.architectures import (
    AURA_FLOW,
    DEEPFLOYD_IF_XL,
    FLUX_2_KLEIN_BASE_4B,
    MVDREAM,
    PIXART_SIGMA_1024,
    QWEN_IMAGE,
    SANA_1600M_512,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    STABLE_DIFFUSION_35_MEDIUM,
    STABLE_DIFFUSION_XL,
    Z_IMAGE,
    Components,
)
from dreamfusion_kit.memory.meta_model import on_meta
from dreamfusion_kit.priors.config.schema import MvdreamUnetConfig
from dreamfusion_kit.priors.network.multi_view import make_multi_view
from dreamfusion_kit.priors.network.mvdream_layout import as_diffusers


def test_mvdream_is_sd21_with_a_camera() -> None:
    """868 M numbers, of which the published file of 1.74 GB has two bytes each."""
    config = MvdreamUnetConfig.model_validate(dict(MVDREAM["unet"]))
    unet = make_multi_view(on_meta(as_diffusers(config), "float16"), 4)
    camera = (16 + 1) * 1280 + (1280 + 1) * 1280
    found = sum(value.numel() for value in unet.parameters())
    assert found == 865_910_724 + camera
    assert 2 * found == pytest.approx(1.74e9, abs=0.005e9)


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
        (FLUX_2_KLEIN_BASE_4B, "transformer", 3.88e9, 0.01e9),
        (Z_IMAGE, "transformer", 6.15e9, 0.01e9),
        (QWEN_IMAGE, "transformer", 20.43e9, 0.01e9),
        (SANA_1600M_512, "transformer", 1.60e9, 0.01e9),
        (SANA_1600M_512, "vae", 312e6, 0.5e6),
        (PIXART_SIGMA_1024, "transformer", 0.61e9, 0.005e9),
    ],
)
def test_parameters(parts: Components, name: str, published: float, half_a_digit: float) -> None:
    assert abs(count(parts, name) - published) <= half_a_digit
