import pytest
import torch

from dreamfusion_kit.field import lookup
from dreamfusion_kit.field.lookup import corner_weights, spread_as_integers, weighted_rows


def _example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    indices = torch.randint(0, 20, (50, 8), generator=generator)
    weights = torch.rand(50, 8, generator=generator, dtype=torch.float64)
    return table, indices, weights


def test_the_sum_is_that_of_plain_indexing() -> None:
    table, indices, weights = _example()
    expected = torch.einsum("nk,nkc->nc", weights, table[indices])
    torch.testing.assert_close(weighted_rows(table, indices, weights), expected)


def test_the_gradient_is_that_of_finite_differences() -> None:
    table, indices, weights = _example()
    table.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: weighted_rows(rows, indices, weights), (table,))


def test_twice_gives_the_same_bytes() -> None:
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 1000, (20_000, 8), generator=generator)
    weights = torch.rand(20_000, 8, generator=generator)
    gradient = torch.randn(20_000, 4, generator=generator)
    found = []
    for _ in range(3):
        table = torch.zeros(1000, 4, requires_grad=True)
        weighted_rows(table, indices, weights).backward(gradient)
        found.append(table.grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def _spread_example(scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 100, (5000, 8), generator=generator)
    weights = torch.rand(5000, 8, generator=generator)
    return indices, weights, scale * torch.randn(5000, 3, generator=generator)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e20])
def test_the_sum_of_integers_is_that_of_doubles(scale: float) -> None:
    indices, weights, gradient = _spread_example(scale)
    expected = torch.zeros(100, 3, dtype=torch.float64)
    for row, share, value in zip(indices, weights.double(), gradient.double(), strict=True):
        expected.index_put_((row,), share[:, None] * value, accumulate=True)
    found = spread_as_integers(100, gradient, [(indices, weights)])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6 * scale)


def test_what_is_next_to_nothing_is_summed_in_the_smallest_unit() -> None:
    """At 2^-100 the unit would leave float32's range; it stays at 2^-120 instead."""
    indices, weights = torch.zeros(1000, 8, dtype=torch.long), torch.ones(1000, 8)
    gradient = torch.full((1000, 1), 2.0**-100)
    assert spread_as_integers(1, gradient, [(indices, weights)]).item() == 8000 * 2.0**-100
    assert spread_as_integers(1, gradient * 2.0**-22, [(indices, weights)]).item() == 0


@pytest.mark.parametrize("num_samples", [1, 3, 4096, 4097, 100_000])
def test_the_largest_sum_of_integers_does_not_overflow(num_samples: int) -> None:
    """All addends are the largest, and fall on one row."""
    indices = torch.zeros(num_samples, 8, dtype=torch.long)
    largest = 2.0 - 2.0**-23  # the largest float32 below a power of two
    gradient = torch.tensor([[largest, -largest]]).repeat(num_samples, 1)
    found = spread_as_integers(1, gradient, [(indices, torch.ones(num_samples, 8))])
    expected = torch.tensor([[8 * num_samples * largest, -8 * num_samples * largest]])
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_the_sum_of_integers_is_the_same_in_any_order_and_any_chunks() -> None:
    indices, weights, gradient = _spread_example(1.0)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    whole = spread_as_integers(100, gradient, [(indices, weights)])
    parts = zip(indices[order].split(700), weights[order].split(700), strict=True)
    shuffled = spread_as_integers(100, gradient[order], parts)
    assert torch.equal(shuffled, whole)


def test_determinism_is_what_it_was_after_a_sum_of_integers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        assert not torch.are_deterministic_algorithms_enabled()
        raise KeyboardInterrupt

    indices, weights, gradient = _spread_example(1.0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        spread_as_integers(100, gradient, [(indices, weights)])
        monkeypatch.setattr(lookup, "_addends", fail)
        with pytest.raises(KeyboardInterrupt):
            spread_as_integers(100, gradient, [(indices, weights)])
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_sum_of_integers_shows_what_is_not_finite_and_keeps_zeros() -> None:
    indices, weights, gradient = _spread_example(1.0)
    assert (spread_as_integers(100, 0 * gradient, [(indices, weights)]) == 0).all()
    assert spread_as_integers(100, gradient[:0], []).shape == (100, 3)
    for bad in (torch.inf, torch.nan):
        gradient[7, 1] = bad
        assert spread_as_integers(100, gradient, [(indices, weights)]).isnan().all()


@pytest.mark.gpu
def test_cuda_has_the_gradient_of_a_cpu() -> None:
    indices, weights, gradient = _spread_example(1.0)
    found = []
    for device in ("cpu", "cuda"):
        table = torch.zeros(100, 3, device=device, requires_grad=True)
        weighted_rows(table, indices.to(device), weights.to(device)).backward(gradient.to(device))
        assert table.grad is not None
        found.append(table.grad.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_no_samples_leave_a_zero_gradient() -> None:
    table = torch.ones(5, 2, requires_grad=True)
    empty = weighted_rows(table, torch.zeros(0, 8, dtype=torch.long), torch.zeros(0, 8))
    assert empty.shape == (0, 2)
    empty.sum().backward()
    assert table.grad is not None
    assert (table.grad == 0).all()


def test_corner_weights_sum_to_one_and_pick_their_corner() -> None:
    fractions = torch.rand(100, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(corner_weights(fractions).sum(dim=-1), torch.ones(100, 4))
    corners = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    assert torch.equal(corner_weights(corners.float()), torch.eye(8))
