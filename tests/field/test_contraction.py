"""Contraction against the specification's points (C8), its inverse, and finite differences."""

import pytest
import torch

from dreamfusion_kit.field.contraction import contract, contract_variances


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((2, 0, 0), (1.5, 0, 0)),
        ((10, 0, 0), (1.9, 0, 0)),
        ((3, 4, 0), (1.08, 1.44, 0)),
        ((0.3, 0.4, 0), (0.3, 0.4, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_points(position: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = contract(torch.tensor([position], dtype=torch.float64), 1.0)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


def _points(count: int) -> torch.Tensor:
    """Return points at distances from 0.01 to 1000 in random directions."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, generator=generator)
    distances = torch.logspace(-2, 3, count)[:, None]
    return distances * torch.nn.functional.normalize(noise, dim=-1)


def test_it_can_be_undone_and_ends_at_twice_the_radius() -> None:
    points = _points(500)
    z = contract(points, 1.0)
    norm = z.norm(dim=-1, keepdim=True)
    assert (norm < 2).all()
    near = points.norm(dim=-1) < 100  # float32 leaves too few digits of 2 - 1 / |x| beyond
    undone = torch.where(norm <= 1, z, z / (2 * norm - norm.square()))
    torch.testing.assert_close(undone[near], points[near], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("radius", [0.5, 1.4])
def test_the_radius_scales_everything(radius: float) -> None:
    points = _points(50)
    torch.testing.assert_close(contract(radius * points, radius), radius * contract(points, 1.0))


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0, 40.0])
def test_the_jacobian(distance: float) -> None:
    """Beyond 1: 1 / r^2 along the radius, (2 - 1 / r) / r across; by central differences."""
    direction = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    across = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64) / 5**0.5
    place, step = distance * direction, 1e-6
    slopes = [
        (contract(place + step * way, 1.0) - contract(place - step * way, 1.0)) / (2 * step)
        for way in (direction, across)
    ]
    radial = 1 / distance**2 if distance > 1 else 1.0
    tangential = (2 - 1 / distance) / distance if distance > 1 else 1.0
    torch.testing.assert_close(slopes[0], radial * direction, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(slopes[1], tangential * across, atol=1e-7, rtol=1e-6)


def test_its_gradient_is_right_and_finite_at_the_origin() -> None:
    points = _points(30)[:15].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contract(x, 1.0), (points,))
    origin = torch.zeros(1, 3, requires_grad=True)
    contract(origin, 1.0).sum().backward()
    assert origin.grad is not None
    assert origin.grad.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("distance", [0.2, 0.8, 2.0, 20.0])
def test_variances_by_sampling(distance: float) -> None:
    """Of a Gaussian small enough to see one slope; off-diagonal terms take no part in these."""
    generator = torch.Generator().manual_seed(1)
    mean = distance * torch.tensor([[2.0, -1.0, 2.0]], dtype=torch.float64) / 3
    stds = 1e-4 * torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64)
    noise = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    expected = contract(mean + stds * noise, 0.9).var(dim=0)
    found = contract_variances(mean, stds.square(), 0.9)[0]
    torch.testing.assert_close(found, expected, rtol=4 * (2 / 200_000) ** 0.5, atol=0)
