import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.camera.pose import fov_y_from_focal, look_at, orbit_position


def _f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_orbit_position_is_the_closed_form() -> None:
    position = orbit_position(_f64(45), _f64(30), _f64(1.25))
    expected = _f64(0.7654655, 0.7654655, 0.625)
    torch.testing.assert_close(position[0], expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [(0, 0, (1, 0, 0)), (90, 0, (0, 1, 0)), (180, 0, (-1, 0, 0)), (0, 90, (0, 0, 1))],
)
def test_azimuth_zero_is_the_front_and_grows_towards_y(
    azimuth: float, elevation: float, expected: tuple[float, float, float]
) -> None:
    position = orbit_position(_f64(azimuth), _f64(elevation), _f64(1))
    torch.testing.assert_close(position[0], _f64(*expected), atol=1e-12, rtol=0)


angles = st.floats(-180, 180)


@given(azimuth=angles, elevation=st.floats(-90, 90), radius=st.floats(0.1, 10))
def test_look_at_is_a_rotation_that_faces_the_target(
    azimuth: float, elevation: float, radius: float
) -> None:
    position = orbit_position(_f64(azimuth), _f64(elevation), _f64(radius))
    pose = look_at(position, torch.zeros(1, 3, dtype=torch.float64), _f64(0, 0, 1)[None])[0]
    rotation = pose[:3, :3]
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(rotation.T @ rotation, identity, atol=1e-6, rtol=0)
    assert math.isclose(float(torch.linalg.det(rotation)), 1, abs_tol=1e-6)
    torch.testing.assert_close(-radius * rotation[:, 2], -position[0], atol=1e-6, rtol=1e-6)
    assert torch.equal(pose[3], _f64(0, 0, 0, 1))


@pytest.mark.parametrize("height", [2.0, -2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_look_at_at_the_pole_is_still_a_rotation(height: float, dtype: torch.dtype) -> None:
    position = torch.tensor([[0, 0, height]], dtype=dtype)
    up = torch.tensor([[0, 0, 1]], dtype=dtype)
    rotation = look_at(position, torch.zeros(1, 3, dtype=dtype), up)[0, :3, :3]
    identity = torch.eye(3, dtype=dtype)
    torch.testing.assert_close(rotation.T @ rotation, identity, atol=1e-6, rtol=0)
    # World +x takes the place of up in the picture.
    torch.testing.assert_close(rotation[:, 1], torch.tensor([1, 0, 0], dtype=dtype))


def test_a_camera_above_the_pole_in_float32_keeps_its_picture_upright() -> None:
    near_pole = orbit_position(torch.tensor([30.0]), torch.tensor([89.9]), torch.tensor([2.0]))
    pose = look_at(near_pole, torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]]))
    assert pose[0, 2, 1] > 0  # the picture's up has a share of the world's


def test_up_need_not_be_unit_nor_orthogonal() -> None:
    position, target = _f64(2, 1, 0.5)[None], _f64(0.1, 0, 0)[None]
    plain = look_at(position, target, _f64(0, 0, 1)[None])
    view = target - position
    other = look_at(position, target, 3 * _f64(0, 0, 1)[None] + 0.7 * view)
    torch.testing.assert_close(plain, other)


def test_fields_of_view_of_the_papers_focal_lengths() -> None:
    found = fov_y_from_focal(_f64(0.7, 1, 1.35))
    expected = _f64(71.0753556, 53.1301024, 40.6462737)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
