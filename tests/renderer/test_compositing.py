import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.renderer.compositing import (
    alphas_from_densities,
    composite_over,
    depth_from_weights,
    distortion_from_weights,
    opacity_from_weights,
    transmittances_from_densities,
    weights_from_densities,
)

DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)


def _slab(deltas: torch.Tensor) -> torch.Tensor:
    return weights_from_densities(torch.full_like(deltas, 2.5), deltas)


@DTYPES
@pytest.mark.parametrize("count", [1, 7, 64, 1000])
def test_a_slab_is_as_opaque_in_any_equal_partition(
    dtype: torch.dtype, tolerance: float, count: int
) -> None:
    weights = _slab(torch.full((count,), 0.4 / count, dtype=dtype))
    assert float(weights.sum()) == pytest.approx(0.6321205588285577, abs=tolerance)


@given(cuts=st.lists(st.floats(0, 0.4), max_size=30))
def test_a_slab_is_as_opaque_in_any_partition(cuts: list[float]) -> None:
    edges = torch.tensor([0, *sorted(cuts), 0.4], dtype=torch.float64)
    assert float(_slab(edges.diff()).sum()) == pytest.approx(-math.expm1(-1), abs=1e-12)


def test_expected_depth_of_a_slab() -> None:
    edges = torch.linspace(0, 0.4, 1001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    weights = _slab(edges.diff())
    closed_form = (1 - math.exp(-1) * 2) / 2.5
    assert closed_form == pytest.approx(0.1056964471, abs=1e-10)
    assert float((weights * middles).sum()) == pytest.approx(closed_form, abs=2e-7)
    expected = closed_form / -math.expm1(-1)
    assert float(depth_from_weights(weights, middles)) == pytest.approx(expected, abs=1e-6)


def test_two_slabs_over_a_background() -> None:
    densities = torch.tensor([1.0, 4.0], dtype=torch.float64)
    weights = weights_from_densities(densities, torch.full_like(densities, 0.5))
    expected = torch.tensor([0.3934693403, 0.5244456611], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, atol=1e-10, rtol=0)
    colors = torch.tensor([[1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    image = composite_over(
        weights @ colors, opacity_from_weights(weights), torch.ones(3, dtype=torch.float64)
    )
    expected = torch.tensor([0.4755543389, 0.0820849986, 0.6065306597], dtype=torch.float64)
    torch.testing.assert_close(image, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_linear_density_at_midpoints_is_exact(count: int) -> None:
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    opacity = opacity_from_weights(weights_from_densities(3 * middles, edges.diff()))
    assert float(1 - opacity) == pytest.approx(0.2231301601484298, abs=1e-12)


def test_the_gradient_of_the_transmittance() -> None:
    densities = torch.tensor([0.3, 2.0, 0.0, 1.1], dtype=torch.float64, requires_grad=True)
    deltas = torch.tensor([0.5, 0.1, 0.2, 0.7], dtype=torch.float64)
    remaining = 1 - opacity_from_weights(weights_from_densities(densities, deltas))
    remaining.backward()
    torch.testing.assert_close(densities.grad, -deltas * remaining.detach())


def test_thin_fog_is_exact_in_float32() -> None:
    weights = weights_from_densities(torch.full((3,), 1e-9), torch.ones(3))
    torch.testing.assert_close(weights, torch.full((3,), 1e-9), rtol=1e-6, atol=0)


def test_infinite_density_hides_what_is_behind() -> None:
    densities = torch.tensor([0.0, torch.inf, torch.inf, 1.0])
    assert weights_from_densities(densities, torch.ones(4)).tolist() == [0, 1, 0, 0]


def test_weights_have_the_gradient_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    densities = torch.rand(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    deltas = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda d: weights_from_densities(d, deltas), (densities,))


@pytest.mark.parametrize("rays", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("samples", [0, 1, 5])
def test_any_leading_axes_and_any_number_of_samples(rays: tuple[int, ...], samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    densities = torch.rand(*rays, samples, generator=generator)
    deltas = torch.rand(*rays, samples, generator=generator)
    weights = weights_from_densities(densities, deltas)
    assert weights.shape == (*rays, samples)
    assert alphas_from_densities(densities, deltas).shape == (*rays, samples)
    opacity = opacity_from_weights(weights)
    assert opacity.shape == rays
    expected = 1 - torch.exp(-(densities * deltas).sum(dim=-1))
    torch.testing.assert_close(opacity, expected)
    if samples:
        first = transmittances_from_densities(densities, deltas)[..., 0]
        assert torch.equal(first, torch.ones(rays))


def test_an_empty_ray_has_depth_zero_and_a_finite_gradient() -> None:
    weights = torch.zeros(4, requires_grad=True)
    depth = depth_from_weights(weights, torch.linspace(1, 2, 4))
    depth.backward()
    assert float(depth.detach()) == 0
    assert weights.grad is not None
    assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize(
    ("opacity", "value", "slope"),
    [(0.0, 0.1, 0.0), (0.5, 0.5099020, 0.9805807), (1.0, 1.0049876, 0.9950372)],
)
def test_opacity_loss_values_of_a_slab(opacity: float, value: float, slope: float) -> None:
    """DreamFusion's sqrt(opacity^2 + 0.01), on an opacity that this module made."""
    depth = -math.log1p(-opacity) if opacity < 1 else math.inf
    weights = weights_from_densities(torch.tensor([depth]), torch.ones(1))
    accumulated = opacity_from_weights(weights).double().requires_grad_()
    loss = (accumulated.square() + 0.01).sqrt()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(value, abs=1e-6)
    assert accumulated.grad is not None
    assert float(accumulated.grad) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 16, 128])
def test_even_weights_have_a_distortion_of_a_third(count: int) -> None:
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    assert float(distortion_from_weights(weights)) == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_distortion_is_the_double_sum(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    weights = torch.rand(3, count, generator=generator, dtype=torch.float64) / count
    expected = [
        sum(float(row[i] * row[j]) * abs(i - j) / count for i in range(count) for j in range(count))
        + float((row**2).sum()) / (3 * count)
        for row in weights
    ]
    assert distortion_from_weights(weights).tolist() == pytest.approx(expected, abs=1e-12)


def test_weight_in_one_place_is_hardly_distorted() -> None:
    weights = torch.zeros(100, dtype=torch.float64)
    weights[37] = 1.0
    assert float(distortion_from_weights(weights)) == pytest.approx(1 / 300, abs=1e-12)
    apart = torch.zeros(100, dtype=torch.float64)
    apart[[10, 90]] = 0.5
    assert float(distortion_from_weights(apart)) == pytest.approx(0.5 * 0.8 + 0.5 / 300, abs=1e-12)


def test_the_slope_of_the_distortion() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 6, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(distortion_from_weights, (weights,))
