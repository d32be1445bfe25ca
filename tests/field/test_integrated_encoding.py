"""The encoding against the specification's numbers (C6), sampling, and the plain encoding."""

import math

import pytest
import torch

from dreamfusion_kit.field.integrated_encoding import integrated_encoding


def _split(features: torch.Tensor, num_levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sines and cosines as `samples levels axes`."""
    sines, cosines = features.unflatten(1, (2, num_levels, -1)).unbind(dim=1)
    return sines, cosines


@pytest.mark.parametrize(
    ("variance", "factors"),
    [
        (0.05, [0.9753099, 0.9048374, 0.6703200, 0.2018965, 0.0016616, 0, 0, 0]),
        (
            0.002,
            [0.9990005, 0.9960080, 0.9841273, 0.9380050, 0.7741420, 0.3591554, 0.0166391, 7.665e-8],
        ),
        (0.0025, [None] * 5 + [0.2780373, None, None]),
        (4e-6, [None] * 7 + [0.9677631]),
    ],
)
def test_the_published_covariances_fade_the_levels(
    variance: float, factors: list[float | None]
) -> None:
    means = torch.zeros(1, 1, dtype=torch.float64)  # where every cosine is 1
    variances = torch.tensor(variance, dtype=torch.float64)
    sines, cosines = _split(integrated_encoding(means, variances, num_levels=8), 8)
    assert (sines == 0).all()
    for found, expected in zip(cosines.flatten().tolist(), factors, strict=True):
        assert expected is None or found == pytest.approx(expected, abs=1e-7)


def test_one_feature_by_hand() -> None:
    means = torch.full((1, 1), 0.3, dtype=torch.float64)
    variances = torch.tensor(0.05, dtype=torch.float64)
    sines, cosines = _split(integrated_encoding(means, variances, num_levels=4), 4)
    assert float(sines[0, 3]) == pytest.approx(0.1363737, abs=1e-6)
    assert float(cosines[0, 3]) == pytest.approx(-0.1488772, abs=1e-6)


def test_it_is_the_mean_of_the_plain_encoding_over_the_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    means, stds = torch.tensor([[0.3, -0.7]]), torch.tensor([[0.4, 0.15]])
    points = means + stds * torch.randn(400_000, 2, generator=generator)
    sines, cosines = _split(integrated_encoding(means, stds.square(), num_levels=4), 4)
    for level in range(4):
        sampled = torch.stack([(2**level * points).sin(), (2**level * points).cos()])
        expected = sampled.mean(dim=1)
        error = sampled.std(dim=1) / math.sqrt(len(points))
        assert ((sines[0, level] - expected[0]).abs() < 4 * error[0]).all()
        assert ((cosines[0, level] - expected[1]).abs() < 4 * error[1]).all()


def test_without_variance_it_is_the_plain_encoding() -> None:
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    found = integrated_encoding(means, torch.zeros((), dtype=torch.float64), num_levels=8)
    expected = [
        [f(2**level * x) for f in (math.sin, math.cos) for level in range(8) for x in row]
        for row in means.tolist()
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_variance_per_axis_is_read_per_axis() -> None:
    means = torch.zeros(2, 3)
    variances = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.0, 0.0]])
    _, cosines = _split(integrated_encoding(means, variances, num_levels=2), 2)
    torch.testing.assert_close(cosines[:, 0], torch.exp(-variances / 2))
    torch.testing.assert_close(cosines[:, 1], torch.exp(-2 * variances))


def test_no_positions() -> None:
    empty = integrated_encoding(torch.zeros(0, 3), torch.tensor(0.1), num_levels=8)
    assert empty.shape == (0, 48)
