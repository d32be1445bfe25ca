"""Textures: they start as they should, learn a picture, and draw nothing from the global state."""

import math
from typing import Any

import pytest
import torch

from dreamfusion_kit.recipe.schema import GridTextureSection, HashGridTextureSection, TextureSection
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.shape.texture import Texture, build_texture

GRID = GridTextureSection(kind="grid", resolution=16, learning_rate=0.1)


def hash_grid(**changes: object) -> HashGridTextureSection:
    keys = {
        "kind": "hash_grid",
        "start_resolution": 16,
        "num_levels": 4,
        "features_per_level": 2,
        "log2_table_size": 12,
        "min_resolution": 4,
        "max_resolution": 32,
        "hidden_width": 16,
        "num_hidden_layers": 1,
        "backend": "torch",
        "encoding_learning_rate": 0.02,
        "network_learning_rate": 0.01,
    }
    return HashGridTextureSection.model_validate({**keys, **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("section", [GRID, hash_grid()], ids=["grid", "hash_grid"])
def test_it_starts_with_the_coarse_colours(section: TextureSection, ball: Start) -> None:
    points = ball.surface.vertices
    found = build_texture(section, ball, generator=generator())(points)
    torch.testing.assert_close(found, 0.5 + 0.4 * points, atol=0.01, rtol=0)


def test_a_hash_grid_without_a_start_begins_grey(ball: Start) -> None:
    texture = build_texture(hash_grid(start_resolution=None), ball, generator=generator())
    torch.testing.assert_close(
        texture(ball.surface.vertices),
        torch.full((len(ball.surface.vertices), 3), 0.5),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize(
    "section", [GRID, hash_grid(), hash_grid(start_resolution=None)], ids=["grid", "hash", "grey"]
)
def test_it_learns_stripes_and_every_parameter_has_a_rate(
    section: TextureSection, ball: Start
) -> None:
    texture = build_texture(section, ball, generator=generator())
    groups = texture.parameter_groups()
    named = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(named) == sorted(map(id, texture.parameters()))
    points = ball.surface.vertices
    stripes = 0.5 + 0.3 * torch.sin(2 * math.pi * points)
    rated: list[dict[str, Any]] = [{**group} for group in groups]
    optimizer = torch.optim.Adam(rated, betas=(0.9, 0.99))
    first = _apart(texture, points, stripes)
    for _ in range(150):
        optimizer.zero_grad()
        (texture(points) - stripes).square().sum().backward()
        optimizer.step()
    assert _apart(texture, points, stripes) < 0.02 < first


@torch.no_grad()
def _apart(texture: Texture, points: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((texture(points) - wanted).square().mean().sqrt())


def test_only_its_generator_decides_how_it_starts(ball: Start) -> None:
    torch.manual_seed(0)
    first = build_texture(hash_grid(), ball, generator=generator(3)).state_dict()
    torch.manual_seed(1)
    second = build_texture(hash_grid(), ball, generator=generator(3)).state_dict()
    other = build_texture(hash_grid(), ball, generator=generator(4)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["encoding.table"], other["encoding.table"])


def test_positions_have_no_gradient(ball: Start) -> None:
    points = ball.surface.vertices.clone().requires_grad_()
    for section in (GRID, hash_grid()):
        texture = build_texture(section, ball, generator=generator())
        texture(points).sum().backward()
    assert points.grad is None
