"""Pictures whose saturation and fog are known by hand."""

import colorsys

import pytest
import torch

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.appearance import fog, saturation, seed_distance


def test_saturation_is_that_of_hsv_over_the_object_alone() -> None:
    colors = [(0.8, 0.2, 0.2), (0.1, 0.4, 0.3)]
    views = torch.full((2, 6, 6, 3), 0.5)
    for view, color in zip(views, colors, strict=True):
        view[2:4, 1:5] = torch.tensor(color)
    expected = sum(colorsys.rgb_to_hsv(*color)[1] for color in colors) / 2
    assert saturation(views) == pytest.approx(expected)
    assert saturation(torch.full((2, 6, 6, 3), 0.5)) is None


def test_fog_is_what_the_field_hides_beside_the_mesh() -> None:
    mesh = torch.zeros(1, 128, 128)
    mesh[:, 40:80, 40:80] = 1
    field = torch.full((1, 128, 128), 0.25)
    field[:, 38:82, 38:82] = 1  # the mesh and two pixels around it do not count
    assert fog(field, mesh) == pytest.approx(0.25)
    field[:, 37:83, 37:83] = 1
    assert (fog(field, mesh) or 0) > 0.25
    assert fog(field, torch.ones(1, 128, 128)) is None


def test_a_field_like_its_mesh_has_no_fog() -> None:
    mesh = (torch.rand(2, 16, 16, generator=seeding.generator(0, "test")) > 0.97).float()
    assert fog(mesh, mesh) == 0


def test_seeds_differ_by_the_mean_angle_of_their_views() -> None:
    own = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert seed_distance(own, [own]) == pytest.approx(0)
    assert seed_distance(own, [turned]) == pytest.approx(0.4)
    assert seed_distance(own, [own, turned]) == pytest.approx(0.2)
