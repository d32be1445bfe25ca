import torch

from dreamfusion_kit.field.lookup import corner_weights, weighted_rows


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
