"""Moments of a frustum against the specification's numbers (C7), exact forms and sampling."""

import math

import pytest
import torch

from dreamfusion_kit.renderer.frustum import axis_variances, frustum_moments


def _moments(t_start: float, t_end: float, radius: float) -> list[float]:
    starts, ends, radii = torch.tensor([[t_start], [t_end], [radius]], dtype=torch.float64)
    return [float(moment) for moment in frustum_moments(starts, ends, radii)]


def test_the_published_case() -> None:
    expected = [45 / 28, 0.0742346939, 0.0066428571]
    assert _moments(1.0, 2.0, 0.1) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("t_start", "t_end", "radius"), [(1, 2, 0.1), (0, 1, 0.5), (0.3, 4, 0.02), (5, 5.5, 1)]
)
def test_they_are_the_moments_of_the_cross_sections(
    t_start: float, t_end: float, radius: float
) -> None:
    """Midpoint quadrature: a disc at t has the area pi (r t)^2, and (r t)^2 / 4 per axis."""
    count = 200_000
    t = t_start + (t_end - t_start) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    area = t.square() / t.square().sum()
    mean = float((area * t).sum())
    variance = float((area * (t - mean).square()).sum())
    across = float((area * (radius * t).square() / 4).sum())
    expected = [mean, variance, across]
    assert _moments(t_start, t_end, radius) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_axes_of_a_slanted_cone_by_sampling() -> None:
    generator = torch.Generator().manual_seed(0)
    count, direction = 400_000, torch.tensor([2.0, -1.0, 2.0]) / 3
    unit = torch.rand(3, count, generator=generator)
    t = (1 + 7 * unit[0]) ** (1 / 3)  # density grows with t^2 from 1 to 2
    r, angle = 0.4 * t * unit[1].sqrt(), 2 * math.pi * unit[2]
    first = torch.linalg.cross(direction, torch.tensor([0.0, 0, 1]))
    first = first / first.norm()
    second = torch.linalg.cross(direction, first)
    points = t[:, None] * direction
    points = points + (r * angle.cos())[:, None] * first + (r * angle.sin())[:, None] * second
    means, t_variances, r_variances = frustum_moments(*torch.tensor([[1.0], [2.0], [0.4]]))
    found = axis_variances(direction[None], t_variances, r_variances)[0]
    # Four standard errors of a variance: its own size times sqrt(kurtosis / n), at most 2.
    tolerance = 4 * math.sqrt(2 / count)
    torch.testing.assert_close(points.var(dim=0), found, rtol=tolerance, atol=0)
    torch.testing.assert_close(points.mean(dim=0), means * direction, atol=4e-3, rtol=0)


def test_thin_frustums_keep_their_digits() -> None:
    mean, t_variance, r_variance = _moments(1.0, 1.0 + 1e-7, 0.01)
    assert mean == pytest.approx(1.0 + 0.5e-7, rel=1e-12)
    assert t_variance == pytest.approx(1e-14 / 12, rel=1e-5)
    assert r_variance == pytest.approx(0.01**2 / 4, rel=1e-6)


def test_no_length_at_no_distance_is_a_point() -> None:
    assert _moments(0.0, 0.0, 0.1) == [0, 0, 0]
