import math

import pytest
import torch

from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.records import Cameras


def _cameras(camera_to_world: torch.Tensor, *, height_px: int, width_px: int) -> Cameras:
    batch = len(camera_to_world)
    zeros = torch.zeros(batch, dtype=camera_to_world.dtype)
    fov_y_deg = fov_y_from_focal(torch.ones_like(zeros))
    return Cameras(camera_to_world, fov_y_deg, zeros, zeros, zeros, height_px, width_px)


def test_the_corner_ray_of_a_64_pixel_image() -> None:
    identity = torch.eye(4, dtype=torch.float64)[None]
    rays = pixel_rays(_cameras(identity, height_px=64, width_px=64))
    corner = rays.directions[0, 0, 0]
    expected = torch.tensor([-0.4921875, 0.4921875, -1], dtype=torch.float64)
    torch.testing.assert_close(corner / -corner[2], expected, atol=1e-12, rtol=0)


def test_rays_are_unit_and_start_at_the_camera() -> None:
    cameras = orbit_cameras(
        torch.tensor([0.0, 77.0]), elevation_deg=20.0, radius=2.0, fov_y_deg=50.0, image_size_px=5
    )
    rays = pixel_rays(cameras)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(2, 5, 5))
    assert torch.equal(rays.origins, cameras.positions[:, None, None].expand(2, 5, 5, 3))


def test_the_middle_ray_of_an_orbit_camera_meets_the_origin() -> None:
    cameras = orbit_cameras(
        torch.tensor([33.0]), elevation_deg=20.0, radius=2.0, fov_y_deg=50.0, image_size_px=5
    )
    middle = pixel_rays(cameras).directions[0, 2, 2]
    torch.testing.assert_close(2 * middle, -cameras.positions[0], atol=1e-6, rtol=0)


def test_the_origin_projects_to_the_middle_of_64_pixels() -> None:
    cameras = orbit_cameras(
        torch.tensor([45.0]), elevation_deg=30.0, radius=1.25, fov_y_deg=53.1301, image_size_px=64
    )
    local = torch.linalg.inv(cameras.camera_to_world[0]) @ torch.tensor([0.0, 0, 0, 1])
    pixels = 32 + 64 * local[:2] / -local[2]
    torch.testing.assert_close(pixels, torch.tensor([32.0, 32.0]), atol=1e-4, rtol=0)


def test_up_is_up_and_left_is_left() -> None:
    cameras = orbit_cameras(
        torch.tensor([0.0]), elevation_deg=0.0, radius=2.0, fov_y_deg=50.0, image_size_px=4
    )
    directions = pixel_rays(cameras).directions[0]
    assert (directions[0, :, 2] > 0).all()  # the first row looks up
    assert (directions[:, 0, 1] < 0).all()  # seen from +x, the left is at -y


def test_pixels_are_square_in_a_wide_image() -> None:
    identity = torch.eye(4, dtype=torch.float64)[None]
    directions = pixel_rays(_cameras(identity, height_px=2, width_px=6)).directions[0]
    on_plane = directions / -directions[..., 2:]
    across, down = on_plane[0, 1] - on_plane[0, 0], on_plane[0, 0] - on_plane[1, 0]
    torch.testing.assert_close(across[0], down[1])


def test_cones_are_as_wide_as_their_pixels() -> None:
    """In the middle 2 / sqrt(12) of a pixel, 1 / 64 wide at focal 1; in a corner by the cosine."""
    cameras = orbit_cameras(
        torch.tensor([0.0]),
        elevation_deg=0.0,
        radius=2.0,
        fov_y_deg=2 * math.degrees(math.atan(0.5)),
        image_size_px=64,
    )
    radii = pixel_rays(cameras).cone_radii
    assert radii is not None
    at_axis, corner = float(radii[0, 32, 32]), float(radii[0, 0, 0])
    assert at_axis == pytest.approx(2 / math.sqrt(12) / 64, rel=1e-3)
    slant = math.hypot(1, 31.5 / 64, 31.5 / 64)
    assert corner == pytest.approx(2 / math.sqrt(12) / 64 / slant, rel=1e-5)
