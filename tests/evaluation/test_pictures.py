"""Pictures whose numbers are known: a cosine of amplitude a has the variance a^2 / 2."""

import colorsys
import math

import pytest
import torch
from torch import Tensor

from dreamfusion_kit.evaluation.pictures import detail, saturation_inside

SIZE = 32


def wave(across: int, down: int, amplitude: float, size: int = SIZE) -> Tensor:
    """Return a grey picture of a cosine with these numbers of cycles along its axes."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 2 * math.pi * (across * x + down * y) / size
    return (0.5 + amplitude * torch.cos(phase))[None, ..., None].expand(1, size, size, 3)


@pytest.mark.parametrize(
    ("across", "down", "counts"),
    [(9, 0, True), (8, 0, False), (0, 9, True), (6, 6, True), (5, 5, False), (1, 0, False)],
)
def test_only_waves_above_half_the_nyquist_frequency_count(
    across: int, down: int, counts: bool
) -> None:
    """Half of it is 8 cycles in 32 pixels, along a diagonal as well."""
    found = detail(wave(across, down, 0.2), size_px=SIZE)
    assert found == pytest.approx(0.2**2 / 2 if counts else 0, rel=1e-5, abs=1e-9)


def test_it_is_the_mean_of_views_and_channels() -> None:
    fine, plain = wave(12, 3, 0.3), torch.full((1, SIZE, SIZE, 3), 0.5)
    one_channel = plain.clone()
    one_channel[..., 1] = fine[..., 1]
    views = torch.cat([fine, plain, one_channel])
    assert detail(views, size_px=SIZE) == pytest.approx(0.3**2 / 2 * (1 + 0 + 1 / 3) / 3)


def test_a_plain_background_has_none_whatever_its_colour() -> None:
    plain = torch.tensor([0.2, 0.5, 0.9]).expand(2, SIZE, SIZE, 3)
    assert detail(plain, size_px=SIZE) == pytest.approx(0, abs=1e-20)


def test_structure_finer_than_the_smaller_size_does_not_count() -> None:
    """Neighbouring pixels of opposite sign cancel in blocks of two."""
    stripes = wave(SIZE, 0, 0.4, 2 * SIZE)
    assert detail(stripes, size_px=2 * SIZE) == pytest.approx(0.4**2)
    assert detail(stripes, size_px=SIZE) == pytest.approx(0, abs=1e-12)


def test_blurring_lowers_it() -> None:
    noise = torch.rand(2, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    blurred = (noise + noise.roll(1, 1) + noise.roll(1, 2) + noise.roll((1, 1), (1, 2))) / 4
    assert detail(blurred, size_px=SIZE) < 0.5 * detail(noise, size_px=SIZE)


def test_a_size_that_does_not_divide_the_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="found pictures of 32 px, expected a multiple of 24"):
        detail(wave(1, 0, 0.1), size_px=24)


def test_saturation_inside_leaves_out_the_outline_and_what_light_does() -> None:
    """A margin of 1/64 of 64 pixels is one pixel."""
    color = torch.tensor([0.8, 0.4, 0.2])
    views = torch.full((2, 64, 64, 3), 0.5)
    covered = torch.zeros(2, 64, 64, dtype=torch.bool)
    covered[:, 20:40, 10:50] = True
    views[covered] = 0.5 * (color + 0.5)  # half transparent along the outline
    views[0, 21:39, 11:49] = color
    views[1, 21:39, 11:49] = 0.25 * color  # in the shade
    expected = colorsys.rgb_to_hsv(0.8, 0.4, 0.2)[1]
    assert saturation_inside(views, covered) == pytest.approx(expected)
    thin = torch.zeros_like(covered)
    thin[:, 30:32] = True
    assert saturation_inside(views, thin) is None
