from collections.abc import Callable

import pytest
import torch
import trimesh

from dreamfusion_kit.recipe.schema import DmtetSection
from dreamfusion_kit.shape.dmtet import Dmtet
from dreamfusion_kit.shape.start import Start


def test_it_starts_at_the_coarse_surface(
    ball: Start, make_dmtet: Callable[..., DmtetSection]
) -> None:
    surface = Dmtet(make_dmtet(), ball).surface()
    radii = surface.vertices.norm(dim=1)
    assert torch.allclose(radii, torch.tensor(0.5), atol=0.005)


@pytest.mark.parametrize("num_levels", [1, 3])
def test_any_level_moves_the_surface(
    num_levels: int, ball: Start, make_dmtet: Callable[..., DmtetSection]
) -> None:
    """A constant in a grid of any size is that constant everywhere: the ball grows by it."""
    shape = Dmtet(make_dmtet(num_levels=num_levels), ball)
    assert [len(level) for level in shape.levels] == [6, 12, 24][-num_levels:]
    for level in shape.levels:
        with torch.no_grad():
            level.fill_(-0.1 / num_levels)
    assert torch.allclose(shape.surface().vertices.norm(dim=1), torch.tensor(0.6), atol=0.005)


def test_the_surface_is_closed_even_where_everything_is_inside(
    ball: Start, make_dmtet: Callable[..., DmtetSection]
) -> None:
    shape = Dmtet(make_dmtet(), ball)
    with torch.no_grad():
        shape.levels[0].fill_(-5.0)
    surface = shape.surface()
    mesh = trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 4


def test_offsets_move_vertices_by_less_than_half_a_cell(
    ball: Start, make_dmtet: Callable[..., DmtetSection]
) -> None:
    shape = Dmtet(make_dmtet(offset_learning_rate=0.01), ball)
    before = shape.surface().vertices.detach()
    with torch.no_grad():
        shape.offsets[..., 0] = 100.0
    moved = shape.surface().vertices.detach() - before
    half = 0.5 * 1.8 / 23
    assert torch.allclose(moved, torch.tensor([half, 0.0, 0.0]), atol=1e-5)
    assert [group["name"] for group in shape.parameter_groups()][-1] == "offsets"


def test_rates_fall_towards_fine_levels(
    ball: Start, make_dmtet: Callable[..., DmtetSection]
) -> None:
    groups = Dmtet(make_dmtet(), ball).parameter_groups()
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.005, 0.0025])
    assert sum(len(group["params"]) for group in groups) == 3
