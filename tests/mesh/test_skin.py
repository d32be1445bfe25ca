"""The albedo seen from above a surface, against integrals solved by hand."""

import math

import pytest
import torch

from dreamfusion_kit.mesh.skin import skin_albedo

DEPTH = 0.4
POSITIONS = torch.tensor([[0.1, 0.2, 1.0], [-0.3, 0.0, 1.0]])
UP = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)  # the surface is the plane z = 1


def constant(density):
    return lambda positions: torch.full_like(positions[:, 0], density)


def grey(value):
    """Return an albedo that is grey and a function of the depth below z = 1."""
    return lambda positions: value(1 - positions[:, 2:]).expand(-1, 3)


def test_without_depth_it_is_the_surfaces_own():
    seen = skin_albedo(constant(5.0), grey(lambda depth: 0.25 + depth), 0.0)
    torch.testing.assert_close(seen(POSITIONS, UP), torch.full((2, 3), 0.25))


@pytest.mark.parametrize("density", [0.2, 3.0, 20.0])
def test_one_colour_through_and_through_is_that_colour(density):
    seen = skin_albedo(constant(density), grey(lambda depth: torch.full_like(depth, 0.3)), DEPTH)
    torch.testing.assert_close(seen(POSITIONS, UP), torch.full((2, 3), 0.3))


@pytest.mark.parametrize("density", [0.5, 4.0])
def test_a_colour_that_rises_with_depth_is_seen_at_its_mean_depth(density):
    """The mean of s in [0, D] weighed by exp(-d s) is 1 / d - D / (exp(d D) - 1)."""
    seen = skin_albedo(constant(density), grey(lambda depth: depth), DEPTH)
    expected = 1 / density - DEPTH / math.expm1(density * DEPTH)
    found = seen(POSITIONS, UP)
    torch.testing.assert_close(found, torch.full((2, 3), expected), atol=2e-3, rtol=0)


def test_a_solid_surface_hides_what_is_below():
    seen = skin_albedo(constant(1e4), grey(lambda depth: (depth > 0.03).float()), DEPTH)
    assert seen(POSITIONS, UP).max() < 1e-6


def test_a_thin_sheet_takes_nothing_from_the_empty_space_behind():
    def densities(positions):
        return torch.where(1 - positions[:, 2] < 0.1, 2.0, 0.0)

    seen = skin_albedo(densities, grey(lambda depth: (depth > 0.1).float()), DEPTH)
    assert seen(POSITIONS, UP).max() == 0


def test_where_nothing_is_visible_below_it_is_the_surfaces_own():
    seen = skin_albedo(constant(0.0), grey(lambda depth: 0.6 + depth), DEPTH)
    torch.testing.assert_close(seen(POSITIONS, UP), torch.full((2, 3), 0.6))


def test_inward_is_against_the_normal():
    seen = skin_albedo(constant(2.0), grey(lambda depth: (depth > 0).float()), DEPTH)
    assert (seen(POSITIONS, UP) == 1).all()
    assert (seen(POSITIONS, -UP) == 0).all()
