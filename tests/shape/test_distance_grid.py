"""What both lattice representations share, seen on the distances themselves."""

from collections.abc import Callable

import torch

from dreamfusion_kit.recipe.schema import DmtetSection
from dreamfusion_kit.shape.dmtet import Dmtet
from dreamfusion_kit.shape.start import Start

Make = Callable[..., DmtetSection]


def test_distances_start_as_the_coarse_surface_has_them(ball: Start, make_dmtet: Make) -> None:
    shape = Dmtet(make_dmtet(), ball)
    inner = ~shape.border
    expected = shape.positions.norm(dim=-1) - 0.5
    assert torch.allclose(shape.distances()[inner], expected[inner], atol=1e-6)
    assert (shape.distances()[shape.border] > 0).all()


def test_levels_add_up_linearly_between_their_points(ball: Start, make_dmtet: Make) -> None:
    """A ramp is linear in a grid of any size, so that the levels' ramps are one ramp."""
    shape = Dmtet(make_dmtet(resolution=13), ball)
    before = shape.distances().detach()
    with torch.no_grad():
        for level in shape.levels:
            level.copy_(torch.linspace(-0.1, 0.1, len(level))[:, None, None].expand_as(level))
    change = (shape.distances() - before)[1:-1, 6, 6]
    expected = 3 * torch.linspace(-0.1, 0.1, 13)[1:-1]
    assert torch.allclose(change, expected, atol=1e-6)


def test_points_stay_where_they_are_without_offsets(ball: Start, make_dmtet: Make) -> None:
    shape = Dmtet(make_dmtet(), ball)
    assert not shape.offsets.requires_grad
    assert torch.equal(shape.points(), shape.positions)
