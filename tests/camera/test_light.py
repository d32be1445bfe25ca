import math
from dataclasses import replace

import pytest
import torch

from dreamfusion_kit.camera.light import (
    albedo_lighting,
    headlight,
    sample_light_positions,
    sample_lighting,
)
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.recipe.schema import LightSection, ShadingSection
from dreamfusion_kit.records import Cameras
from dreamfusion_kit.seeding import generator

LIGHT = LightSection(direction_std=1.0, distance_range=(0.8, 1.5))
SHADING = ShadingSection(
    albedo_only_steps=1000,
    shaded_probability=0.75,
    textureless_probability=0.5,
    ambient=0.1,
    diffuse=0.9,
)


def _cameras(batch: int) -> Cameras:
    azimuths = torch.linspace(0, 360, batch)
    return orbit_cameras(azimuths, elevation_deg=20.0, radius=1.3, fov_y_deg=50.0, image_size_px=4)


def _shares(step: int) -> tuple[float, float, float]:
    lighting = sample_lighting(LIGHT, SHADING, _cameras(100_000), step, generator=generator(0, "l"))
    shaded = lighting.diffuse > 0
    albedo = float((~shaded).float().mean())
    textureless = float(lighting.textureless.float().mean())
    return albedo, 1 - albedo - textureless, textureless


def test_mode_shares_before_and_after_the_albedo_steps() -> None:
    assert _shares(999) == (1, 0, 0)
    assert _shares(1000) == pytest.approx((0.25, 0.375, 0.375), abs=0.005)


def test_only_shaded_images_are_textureless_and_each_mode_has_its_light() -> None:
    lighting = sample_lighting(LIGHT, SHADING, _cameras(1000), 5000, generator=generator(0, "l"))
    shaded = lighting.diffuse > 0
    assert not (lighting.textureless & ~shaded).any()
    torch.testing.assert_close(lighting.ambient, torch.where(shaded, 0.1, 1.0))
    torch.testing.assert_close(lighting.diffuse, torch.where(shaded, 0.9, 0.0))


def test_lights_stand_on_the_cameras_side_at_the_recipes_distance() -> None:
    cameras = _cameras(20_000)
    positions = sample_light_positions(LIGHT, cameras, generator=generator(0, "l"))
    distances = positions.norm(dim=-1)
    assert ((distances >= 0.8 - 1e-5) & (distances <= 1.5 + 1e-5)).all()
    assert float(distances.mean()) == pytest.approx(1.15, abs=4 * 0.7 / math.sqrt(12 * 20_000))
    # P(direction . camera > 0) = Phi(|camera| / std) = Phi(1.3).
    same_side = ((positions * cameras.positions).sum(dim=-1) > 0).float().mean()
    assert float(same_side) == pytest.approx(0.9032, abs=4 * 0.3 / math.sqrt(20_000))


def test_no_spread_puts_the_light_in_the_cameras_direction() -> None:
    cameras = _cameras(5)
    section = LIGHT.model_copy(update={"direction_std": 0.0})
    positions = sample_light_positions(section, cameras, generator=generator(0, "l"))
    cosine = torch.cosine_similarity(positions, cameras.positions)
    torch.testing.assert_close(cosine, torch.ones(5))


def test_albedo_lighting_and_headlight() -> None:
    cameras = _cameras(2)
    albedo = albedo_lighting(cameras)
    assert albedo.ambient.tolist() == [1, 1]
    assert albedo.diffuse.tolist() == [0, 0]
    assert not albedo.textureless.any()
    lamp = headlight(cameras, ambient=0.4, diffuse=0.6, textureless=True)
    assert torch.equal(lamp.positions, cameras.positions)
    assert lamp.textureless.all()
    torch.testing.assert_close(lamp.ambient + lamp.diffuse, torch.ones(2))


def test_views_of_one_object_share_their_mode_and_not_their_light() -> None:
    together = replace(_cameras(400), views_per_object=4)
    grouped = sample_lighting(LIGHT, SHADING, together, 5000, generator=generator(0, "l"))
    for mode in (grouped.textureless, grouped.ambient, grouped.diffuse):
        groups = mode.reshape(100, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == 2
    assert len(grouped.positions.unique(dim=0)) == 400
