import pytest
import torch

from dreamfusion_kit.field.normals import (
    CENTRAL_TAPS,
    MIN_SLOPE,
    TETRAHEDRON_TAPS,
    finite_difference_gradient,
    normals_from_gradient,
)

TAPS = pytest.mark.parametrize("taps", [CENTRAL_TAPS, TETRAHEDRON_TAPS], ids=["central", "tetra"])
Taps = tuple[tuple[float, float, float], ...]


def _points(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


@TAPS
def test_the_gradient_of_a_linear_function_is_exact(taps: Taps) -> None:
    slope = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64)
    found = finite_difference_gradient(lambda x: x @ slope + 7, _points(20), epsilon=0.1, taps=taps)
    torch.testing.assert_close(found, slope.expand(20, 3))


@TAPS
def test_the_normals_of_a_gaussian_point_outwards(taps: Taps) -> None:
    points = 0.3 * _points(200)
    gradient = finite_difference_gradient(
        lambda x: torch.exp(-x.square().sum(dim=-1) / (2 * 0.2**2)), points, epsilon=1e-6, taps=taps
    )
    steep = gradient.norm(dim=-1) > 1e-3
    expected = torch.nn.functional.normalize(points, dim=-1)
    torch.testing.assert_close(
        normals_from_gradient(gradient)[steep], expected[steep], atol=1e-5, rtol=0
    )


def test_central_taps_meet_the_analytic_tolerance() -> None:
    points = torch.nn.functional.normalize(_points(100), dim=-1) * 0.2
    gradient = finite_difference_gradient(
        lambda x: torch.exp(-x.square().sum(dim=-1) / (2 * 0.2**2)),
        points,
        epsilon=1e-4,
        taps=CENTRAL_TAPS,
    )
    expected = points / 0.2
    torch.testing.assert_close(normals_from_gradient(gradient), expected, atol=1e-6, rtol=0)


def test_flat_space_has_no_normal_and_no_gradient() -> None:
    gradient = torch.tensor([[0.0, 0, 0], [MIN_SLOPE / 2, 0, 0], [0, 0, 3]], requires_grad=True)
    normals = normals_from_gradient(gradient)
    assert normals.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, -1]]
    normals.sum().backward()
    assert gradient.grad is not None
    assert torch.isfinite(gradient.grad).all()
    assert (gradient.grad[:2] == 0).all()


def test_normals_are_differentiable() -> None:
    gradient = _points(5).requires_grad_()
    assert torch.autograd.gradcheck(normals_from_gradient, (gradient,))


def test_no_positions_give_no_gradient() -> None:
    empty = finite_difference_gradient(
        lambda x: x[:, 0], torch.zeros(0, 3), epsilon=0.1, taps=TETRAHEDRON_TAPS
    )
    assert normals_from_gradient(empty).shape == (0, 3)
