"""Distances against closed forms, and the bound that sphere tracing relies on."""

import math

import pytest
import torch

from dreamfusion_kit.toybox import primitives as s

SOLIDS = {
    "ball": lambda p: s.ball(p, 0.5),
    "ellipsoid": lambda p: s.ellipsoid(p, (0.5, 0.3, 0.2)),
    "box": lambda p: s.box(p, (0.4, 0.3, 0.2)),
    "rounded box": lambda p: s.box(p, (0.4, 0.3, 0.2), 0.1),
    "cylinder": lambda p: s.cylinder(p, 0.3, 0.4),
    "cone": lambda p: s.cone(p, 0.4, 0.1, 0.3),
    "torus": lambda p: s.torus(p, 0.4, 0.1),
    "capsule": lambda p: s.capsule(p, (-0.2, 0.0, 0.0), (0.3, 0.1, 0.2), 0.1),
    "gable": lambda p: s.gable(p, (0.4, 0.5, 0.2)),
}


def cloud(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, generator=draw) * 2 - 1


@pytest.mark.parametrize("name", SOLIDS)
def test_distance_never_oversteps(name: str) -> None:
    """A distance bound is 1-Lipschitz: |d(a) - d(b)| <= |a - b| for every pair of points."""
    a, b = cloud(20_000, 0), cloud(20_000, 1)
    near = a + 0.05 * b
    for other in (b, near):
        change = (SOLIDS[name](a) - SOLIDS[name](other)).abs()
        assert (change <= (a - other).norm(dim=-1) + 1e-5).all()


@pytest.mark.parametrize(
    ("name", "volume"),
    [
        ("ball", 4 / 3 * math.pi * 0.125),
        ("ellipsoid", 4 / 3 * math.pi * 0.5 * 0.3 * 0.2),
        ("box", 0.8 * 0.6 * 0.4),
        ("cylinder", math.pi * 0.09 * 0.8),
        ("cone", math.pi * 0.6 / 3 * (0.16 + 0.04 + 0.01)),
        ("torus", 2 * math.pi**2 * 0.4 * 0.01),
        ("gable", 0.5 * 0.8 * 0.4 * 1.0),
    ],
)
def test_inside_has_the_solids_volume(name: str, volume: float) -> None:
    points = cloud(400_000, 2)
    share = (SOLIDS[name](points) < 0).float().mean().item()
    deviation = math.sqrt(volume / 8 * (1 - volume / 8) / len(points))
    assert share == pytest.approx(volume / 8, abs=4.5 * deviation)


def test_turned_solid_leans_towards_the_front() -> None:
    """A rod along z that leans by 90 degrees lies along +x."""
    tip = torch.tensor([[0.9, 0.0, 0.0]])
    local = s.turned_y(tip, 90)
    assert torch.allclose(local, torch.tensor([[0.0, 0.0, 0.9]]), atol=1e-6)


def test_cut_and_union_are_set_operations() -> None:
    points = cloud(5_000, 3)
    a, b = s.ball(points, 0.6), s.box(points, (0.5, 0.5, 0.2))
    assert ((s.union(a, b) < 0) == ((a < 0) | (b < 0))).all()
    assert ((s.cut(a, b) < 0) == ((a < 0) & (b > 0))).all()
