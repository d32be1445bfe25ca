import math

import pytest
import torch

from dreamfusion_kit.camera.sampler import (
    orbit_cameras,
    sample_azimuth_deg,
    sample_cameras,
    sample_elevation_deg,
)
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.schema import CameraSection, ObjectViewsSection, SizeSchedule
from dreamfusion_kit.seeding import generator

DREAMFUSION = CameraSection(
    image_size_px=64,
    elevation_range_deg=(-10.0, 90.0),
    azimuth_range_deg=(0.0, 360.0),
    radius_range=(1.0, 1.5),
    focal_range=(0.7, 1.35),
    uniform_sphere_probability=0.5,
    position_jitter=0.1,
    look_at_jitter_std=0.2,
    up_jitter_std=0.02,
    stratified_azimuth=False,
)
MANY = 100_000


def _elevations(probability: float) -> torch.Tensor:
    section = DREAMFUSION.model_copy(update={"uniform_sphere_probability": probability})
    return sample_elevation_deg(section, MANY, generator=generator(0, "test"))


def test_the_area_branch_is_uniform_on_the_upper_half_sphere() -> None:
    sines = torch.sin(torch.deg2rad(_elevations(1.0)))
    assert float(sines.mean()) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / MANY))
    above_60 = float((sines > math.sin(math.radians(60))).float().mean())
    assert above_60 == pytest.approx(1 - math.sqrt(3) / 2, abs=0.005)
    assert float(sines.min()) >= 0


def test_the_angle_branch_is_uniform_over_the_whole_range() -> None:
    elevations = _elevations(0.0)
    assert float(elevations.mean()) == pytest.approx(40, abs=4 * 100 / math.sqrt(12 * MANY))
    assert -10 <= float(elevations.min()) < -9.9
    assert 89.9 < float(elevations.max()) <= 90


def test_the_mixture_has_the_share_of_each_branch() -> None:
    # Only the angle branch goes below the horizon: 0.5 * 10 / 100.
    below = float((_elevations(0.5) < 0).float().mean())
    assert below == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / MANY))


@pytest.mark.parametrize("limits", [(20.0, 50.0), (-50.0, -20.0), (-30.0, 0.0), (15.0, 15.0)])
def test_elevations_stay_in_any_range(limits: tuple[float, float]) -> None:
    section = DREAMFUSION.model_copy(update={"elevation_range_deg": limits})
    elevations = sample_elevation_deg(section, 1000, generator=generator(0, "test"))
    assert ((elevations >= limits[0] - 1e-4) & (elevations <= limits[1] + 1e-4)).all()


def test_stratified_azimuths_take_one_share_each() -> None:
    section = DREAMFUSION.model_copy(update={"stratified_azimuth": True})
    for step in range(20):
        azimuths = sample_azimuth_deg(section, 4, generator=generator(0, "test", step))
        assert (azimuths // 90).tolist() == [0, 1, 2, 3]


def test_cameras_keep_the_papers_ranges() -> None:
    cameras = sample_cameras(DREAMFUSION, 2000, generator=generator(1, "test"))
    assert ((cameras.radius >= 1) & (cameras.radius < 1.5)).all()
    assert ((cameras.azimuth_deg >= 0) & (cameras.azimuth_deg < 360)).all()
    assert ((cameras.fov_y_deg > 40.64) & (cameras.fov_y_deg < 71.08)).all()
    # The jitter moves each coordinate by at most 0.1.
    distance = cameras.positions.norm(dim=-1)
    assert ((distance - cameras.radius).abs() <= 0.1 * math.sqrt(3) + 1e-6).all()
    assert float((distance - cameras.radius).abs().max()) > 0.05


def test_every_random_camera_is_a_rotation() -> None:
    cameras = sample_cameras(DREAMFUSION, 500, generator=generator(2, "test"))
    rotation = cameras.camera_to_world[:, :3, :3]
    identity = torch.eye(3).expand(500, 3, 3)
    torch.testing.assert_close(rotation.mT @ rotation, identity, atol=1e-5, rtol=0)


def test_equal_addresses_give_equal_cameras_and_others_do_not() -> None:
    first, again, other = (
        sample_cameras(DREAMFUSION, 3, generator=generator(0, "camera", step)).camera_to_world
        for step in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_orbit_cameras_have_no_jitter() -> None:
    azimuths = torch.tensor([0.0, 90.0])
    cameras = orbit_cameras(
        azimuths, elevation_deg=0.0, radius=2.0, fov_y_deg=40.0, image_size_px=8
    )
    expected = torch.tensor([[2.0, 0, 0], [0, 2, 0]])
    torch.testing.assert_close(cameras.positions, expected, atol=1e-6, rtol=0)


def test_the_size_of_the_images_follows_the_step_and_nothing_else_does() -> None:
    growing = DREAMFUSION.model_copy(
        update={"image_size_px": SizeSchedule(sizes=((0, 8), (3, 16)))}
    )
    drawn = [sample_cameras(growing, 2, generator=generator(0, "camera"), step=s) for s in (2, 3)]
    assert [(cameras.height_px, cameras.width_px) for cameras in drawn] == [(8, 8), (16, 16)]
    assert torch.equal(drawn[0].camera_to_world, drawn[1].camera_to_world)
    assert growing.largest_image_size_px == 16


# ---- views in groups

TOGETHER = DREAMFUSION.model_copy(
    update={
        "position_jitter": 0.0,
        "look_at_jitter_std": 0.0,
        "up_jitter_std": 0.0,
        "elevation_range_deg": (0.0, 30.0),
        "object_views": ObjectViewsSection(count=4, radius_follows_focal=False),
    }
)


def test_a_group_goes_around_the_object_on_one_orbit() -> None:
    cameras = sample_cameras(TOGETHER, 12, generator=generator(0, "test"))
    assert cameras.views_per_object == 4
    for values in (cameras.elevation_deg, cameras.radius, cameras.fov_y_deg):
        groups = values.reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == 3
    azimuths = cameras.azimuth_deg.reshape(3, 4)
    torch.testing.assert_close(azimuths - azimuths[:, :1], torch.tensor([[0.0, 90, 180, 270]] * 3))
    # What the rays see is that orbit: the four places add up to the middle, above the ground.
    middle = cameras.positions.reshape(3, 4, 3).mean(dim=1)
    torch.testing.assert_close(middle[:, :2], torch.zeros(3, 2), atol=1e-6, rtol=0)
    heights = cameras.radius[::4] * torch.deg2rad(cameras.elevation_deg[::4]).sin()
    torch.testing.assert_close(middle[:, 2], heights)


def test_stratified_groups_draw_from_shares_of_their_own() -> None:
    section = TOGETHER.model_copy(update={"stratified_azimuth": True})
    first = sample_cameras(section, 16, generator=generator(0, "test")).azimuth_deg[::4]
    assert (first // 90).tolist() == [0, 1, 2, 3]


def test_a_distance_that_follows_the_lens_keeps_the_object_s_size() -> None:
    views = ObjectViewsSection(count=4, radius_follows_focal=True)
    section = TOGETHER.model_copy(update={"object_views": views, "radius_range": (0.9, 0.9)})
    cameras = sample_cameras(section, 40, generator=generator(0, "test"))
    half_angle = torch.deg2rad(cameras.fov_y_deg / 2)
    torch.testing.assert_close(cameras.radius * half_angle.tan(), torch.full((40,), 0.9))
    torch.testing.assert_close(cameras.positions.norm(dim=1), cameras.radius)
    assert section.distance(0.9, 1.5) == pytest.approx(2.7)
    assert TOGETHER.distance(0.9, 1.5) == 0.9


def test_groups_of_a_batch_are_whole() -> None:
    with pytest.raises(RecipeError, match="found 6 views, expected a multiple of 4"):
        sample_cameras(TOGETHER, 6, generator=generator(0, "test"))


def test_the_orbits_of_groups_are_those_that_single_views_would_have() -> None:
    alone = TOGETHER.model_copy(update={"object_views": None})
    single = sample_cameras(alone, 3, generator=generator(0, "test"))
    grouped = sample_cameras(TOGETHER, 12, generator=generator(0, "test"))
    assert torch.equal(grouped.elevation_deg[::4], single.elevation_deg)
    assert torch.equal(grouped.azimuth_deg[::4], single.azimuth_deg)
