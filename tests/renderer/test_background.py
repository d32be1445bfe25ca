import colorsys

import pytest
import torch

from dreamfusion_kit.recipe.schema import ConstantBackgroundSection, RandomBackgroundSection
from dreamfusion_kit.renderer.background import hsv_to_rgb, sample_background
from dreamfusion_kit.seeding import generator


def _random(**changes: object) -> RandomBackgroundSection:
    section = RandomBackgroundSection(
        kind="random", value_range=(0.2, 0.8), saturation_max=0.5, gradient_probability=0.5
    )
    return section.model_copy(update=changes)


def test_a_constant_background() -> None:
    section = ConstantBackgroundSection(kind="constant", color=(0.1, 0.2, 0.3))
    image = sample_background(section, 2, 3, 4, generator=generator(0, "background"))
    expected = torch.tensor([0.1, 0.2, 0.3]).expand(2, 3, 4, 3)
    torch.testing.assert_close(image, expected)


def test_colours_are_those_of_the_standard_library() -> None:
    hsv = torch.rand(50, 3, generator=generator(0, "hsv"), dtype=torch.float64)
    expected = torch.tensor([colorsys.hsv_to_rgb(*row) for row in hsv.tolist()])
    torch.testing.assert_close(hsv_to_rgb(*hsv.unbind(dim=-1)), expected.double())


def test_random_backgrounds_keep_their_range() -> None:
    image = sample_background(_random(), 300, 5, 5, generator=generator(0, "background"))
    brightest = image.amax(dim=-1)  # HSV's value
    assert ((brightest >= 0.1) & (brightest <= 0.8 + 1e-6)).all()
    assert (image >= 0).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_share_of_gradients(probability: float) -> None:
    section = _random(gradient_probability=probability)
    image = sample_background(section, 2000, 4, 4, generator=generator(0, "background"))
    spread = (image.amax(dim=(1, 2)) - image.amin(dim=(1, 2))).amax(dim=-1)
    assert float((spread > 1e-4).float().mean()) == pytest.approx(probability, abs=0.04)


def test_no_saturation_is_grey() -> None:
    section = _random(saturation_max=0.0)
    image = sample_background(section, 20, 4, 4, generator=generator(0, "background"))
    torch.testing.assert_close(image[..., 0], image[..., 1])
    torch.testing.assert_close(image[..., 0], image[..., 2])
