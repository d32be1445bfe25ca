"""Samples from a histogram against numpy, the bound of one by another by hand and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.renderer.histogram import interlevel_from_weights, invert_cdf, resample
from dreamfusion_kit.renderer.sampling import Intervals
from dreamfusion_kit.seeding import generator


def _rows(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _intervals(edges: torch.Tensor) -> Intervals:
    return Intervals(edges[:, :-1], edges[:, 1:], (edges[:, :-1] + edges[:, 1:]) / 2)


def test_quantiles_of_a_hand_computed_histogram() -> None:
    """Weights 1, 0, 3: a quarter lies in the first interval, the rest in the third."""
    found = invert_cdf(_rows([1, 0, 3]), 4)
    expected = _rows([0, 1, 2 + 1 / 3, 2 + 2 / 3, 3])
    torch.testing.assert_close(found, expected)


@given(weights=st.lists(st.floats(0.01, 5), min_size=1, max_size=12), count=st.integers(1, 20))
def test_quantiles_are_numpys_inverse_of_the_cdf(weights: list[float], count: int) -> None:
    cdf = np.concatenate([[0], np.cumsum(weights)]) / np.sum(weights)
    expected = np.interp(np.linspace(0, 1, count + 1), cdf, np.arange(len(weights) + 1))
    found = invert_cdf(_rows(weights, weights[::-1]), count)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-9)


def test_samples_of_a_known_density_lie_as_numpy_says() -> None:
    """Weights of which no dilation changes anything, on intervals of unequal length."""
    edges = _rows([1, 1.5, 3, 3.2, 7, 11, 12])
    weights = _rows([0.2, 0.2, 0.2, 0.05, 0.05, 0.05])
    dilated = np.array([0.2, 0.2, 0.2, 0.2, 0.05, 0.05]) + 1e-3  # by one interval, plus padding
    cdf = np.concatenate([[0], np.cumsum(dilated)]) / dilated.sum()
    expected = np.interp(np.linspace(0, 1, 9), cdf, edges[0].numpy())
    found = resample(_intervals(edges), weights, num_samples=8, exponent=1.0)
    np.testing.assert_allclose(found.t_starts[0].numpy(), expected[:-1], rtol=1e-12)
    np.testing.assert_allclose(found.t_ends[0].numpy(), expected[1:], rtol=1e-12)
    torch.testing.assert_close(found.t_mids, (found.t_starts + found.t_ends) / 2)
    assert found.edges is not None
    on_the_way = np.interp(expected, edges[0].numpy(), np.linspace(0, 1, 7))
    np.testing.assert_allclose(found.edges[0].numpy(), on_the_way, rtol=1e-12)


def test_without_an_exponent_the_weights_say_nothing() -> None:
    edges = _rows([0, 1, 3, 7])
    found = resample(_intervals(edges), _rows([0, 0.9, 0.1]), num_samples=3, exponent=0.0)
    torch.testing.assert_close(found.t_starts, edges[:, :-1])
    torch.testing.assert_close(found.t_ends, edges[:, 1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pieces_cover_the_way_and_leave_out_intervals_without_length(dtype: torch.dtype) -> None:
    random = generator(0, "histogram")
    lengths = torch.rand(200, 9, generator=random, dtype=dtype)
    lengths = lengths * (torch.rand(200, 9, generator=random) > 0.4)
    edges = torch.nn.functional.pad(lengths.cumsum(-1), (1, 0)) + 2
    weights = torch.rand(200, 9, generator=random, dtype=dtype) * (lengths > 0)
    found = resample(_intervals(edges), weights, num_samples=16, exponent=0.7)
    assert torch.equal(found.t_starts[:, 0], edges[:, 0])
    assert torch.equal(found.t_ends[:, -1], edges[:, -1])
    assert torch.equal(found.t_starts[:, 1:], found.t_ends[:, :-1])
    assert (found.deltas >= -1e-6).all()
    with_length = lengths.sum(dim=-1) > 0
    assert (found.deltas[with_length] > 0).all()


def test_a_ray_without_any_length_stays_a_point() -> None:
    found = resample(
        _intervals(torch.full((1, 4), 2.0)), torch.zeros(1, 3), num_samples=5, exponent=1.0
    )
    assert (found.t_starts == 2).all()
    assert (found.t_ends == 2).all()


def test_most_samples_go_where_the_weight_is() -> None:
    edges = torch.arange(101, dtype=torch.float64)[None]
    weights = torch.zeros(1, 100, dtype=torch.float64)
    weights[0, 40] = 1.0
    found = resample(_intervals(edges), weights, num_samples=50, exponent=1.0)
    near = (found.t_mids > 39) & (found.t_mids < 42)  # dilated by one interval
    assert int(near.sum()) >= 45


# ---- the bound


def _even(count: int) -> torch.Tensor:
    return torch.arange(count + 1, dtype=torch.float64)[None] / count


def test_a_histogram_bounds_itself() -> None:
    weights = torch.rand(3, 8, generator=generator(0, "histogram"), dtype=torch.float64) / 8
    loss = interlevel_from_weights(weights, _even(8).expand(3, 9), weights)
    assert float(loss.max()) < 1e-30


def test_a_hand_computed_bound() -> None:
    """Two intervals propose 0.3 and 0.1; samples end at 0.25, 0.75 and 1.

    The first touches one interval (0.5 against 0.3), the second both (0.3 against 0.4), the
    last the second (0.2 against 0.1): 0.2^2 / 0.5 + 0 + 0.1^2 / 0.2 = 0.13.
    """
    loss = interlevel_from_weights(
        _rows([0.5, 0.3, 0.2]), _rows([0, 0.25, 0.75, 1]), _rows([0.3, 0.1])
    )
    assert loss.tolist() == pytest.approx([0.13], abs=1e-12)


def test_the_bound_is_the_double_loop() -> None:
    random = generator(1, "histogram")
    weights = torch.rand(4, 6, generator=random, dtype=torch.float64) / 6
    proposed = torch.rand(4, 5, generator=random, dtype=torch.float64) / 10
    cuts = torch.rand(4, 5, generator=random, dtype=torch.float64).sort(dim=-1).values
    edges = torch.nn.functional.pad(torch.nn.functional.pad(cuts, (1, 0)), (0, 1), value=1.0)
    expected = []
    for ray in range(4):
        total = 0.0
        for i in range(6):
            start, end = float(edges[ray, i]), float(edges[ray, i + 1])
            touched = [j for j in range(5) if j / 5 < end and (j + 1) / 5 > start]
            bound = sum(float(proposed[ray, j]) for j in touched)
            weight = float(weights[ray, i])
            total += max(0.0, weight - bound) ** 2 / weight
        expected.append(total)
    assert sum(expected) > 0.1
    found = interlevel_from_weights(weights, edges, proposed)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_too_much_costs_nothing_and_an_empty_ray_neither() -> None:
    weights = _rows([0.1, 0.2], [0.0, 0.0])
    loss = interlevel_from_weights(weights, _even(2).expand(2, 3), _rows([0.5, 0.5], [0.0, 0.0]))
    assert loss.tolist() == [0, 0]


def test_only_what_is_proposed_gets_a_gradient() -> None:
    weights, edges = _rows([0.5, 0.3]).requires_grad_(), _even(2).requires_grad_()
    proposed = _rows([0.1, 0.4]).requires_grad_()
    interlevel_from_weights(weights, edges, proposed).sum().backward()
    assert weights.grad is None
    assert edges.grad is None
    assert proposed.grad is not None
    # d/dp (w - p)^2 / w = -2 (w - p) / w where w > p, and nothing elsewhere.
    assert proposed.grad.tolist() == [pytest.approx([-2 * 0.4 / 0.5, 0])]
