from collections.abc import Callable

import pytest
import torch
import trimesh

from dreamfusion_kit.recipe.schema import FlexicubesSection
from dreamfusion_kit.shape.flexicubes import Flexicubes
from dreamfusion_kit.shape.start import Start

Make = Callable[..., FlexicubesSection]


def test_it_starts_at_the_coarse_surface(ball: Start, make_flexicubes: Make) -> None:
    radii = Flexicubes(make_flexicubes(), ball).surface().vertices.norm(dim=1)
    assert torch.allclose(radii, torch.tensor(0.5), atol=0.01)


def test_the_surface_is_closed_whatever_the_parameters(ball: Start, make_flexicubes: Make) -> None:
    shape = Flexicubes(make_flexicubes(resolution=12, offset_learning_rate=0.01), ball)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in shape.parameters():
            parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    surface = shape.surface()
    mesh = trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)
    assert len(surface.faces) > 1000
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


def test_weights_that_are_not_optimised_take_no_memory(ball: Start, make_flexicubes: Make) -> None:
    shape = Flexicubes(make_flexicubes(weight_learning_rate=0.0), ball)
    assert shape.weights.numel() == 0
    assert [group["name"] for group in shape.parameter_groups()] == [
        "distances_0",
        "distances_1",
        "distances_2",
    ]
    weighted = Flexicubes(make_flexicubes(), ball)
    assert weighted.weights.shape == (23**3, 21)
    assert torch.allclose(shape.surface().vertices, weighted.surface().vertices, atol=1e-6)


@pytest.mark.parametrize("kind", [0.0, 0.5])
def test_its_penalty_is_l_dev_in_cells(kind: float, ball: Start, make_flexicubes: Make) -> None:
    """The same shape on half the lattice's spacing has the same penalty, about."""
    found = [
        Flexicubes(make_flexicubes(resolution=size, deviation_lambda=kind), ball).regularized()
        for size in (24, 47)
    ]
    if kind == 0:
        assert found[0].penalty is None
        return
    first, second = (float(one.penalty.detach()) for one in found if one.penalty is not None)
    assert 0.01 < first < 0.1
    assert first == pytest.approx(second, rel=0.2)


def test_every_parameter_group_moves_the_surface(ball: Start, make_flexicubes: Make) -> None:
    shape = Flexicubes(make_flexicubes(offset_learning_rate=0.01), ball)
    shape.surface().vertices.square().sum().backward()
    groups = shape.parameter_groups()
    assert [group["name"] for group in groups][-2:] == ["offsets", "weights"]
    for group in groups:
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in shape.parameters()}
