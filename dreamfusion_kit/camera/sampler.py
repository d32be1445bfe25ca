"""Random training cameras (DreamFusion, s. 3.2 and A.2) and fixed orbits."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.pose import fov_y_from_focal, look_at, orbit_position
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.schema import CameraSection
from dreamfusion_kit.records import Cameras


def uniform(
    shape: tuple[int, ...], lower: float, upper: float, generator: torch.Generator
) -> Tensor:
    """Return uniform numbers in [lower, upper) on the generator's device."""
    unit = torch.rand(shape, generator=generator, device=generator.device)
    return lower + (upper - lower) * unit


def sample_elevation_deg(
    section: CameraSection, batch: int, *, generator: torch.Generator
) -> Float[Tensor, " batch"]:
    """Draw elevations from DreamFusion's mixture: uniform in angle, or uniform in area.

    The area branch covers the upper half of the sphere only, as the paper says, cut to
    the recipe's elevation range; a range entirely below the horizon is used unchanged.
    """
    lower, upper = section.elevation_range_deg
    in_angle = uniform((batch,), lower, upper, generator)
    lowest = max(lower, 0.0) if upper > 0 else lower
    sin_lower, sin_upper = math.sin(math.radians(lowest)), math.sin(math.radians(upper))
    in_area = torch.rad2deg(torch.asin(uniform((batch,), sin_lower, sin_upper, generator)))
    choose_area = uniform((batch,), 0.0, 1.0, generator) < section.uniform_sphere_probability
    return torch.where(choose_area, in_area, in_angle)


def sample_azimuth_deg(
    section: CameraSection, batch: int, *, generator: torch.Generator
) -> Float[Tensor, " batch"]:
    """Draw azimuths; if stratified, each image of the batch gets its own share of the range."""
    lower, upper = section.azimuth_range_deg
    unit = uniform((batch,), 0.0, 1.0, generator)
    if section.stratified_azimuth:
        unit = (unit + torch.arange(batch, device=unit.device)) / batch
    return lower + (upper - lower) * unit


def sample_cameras(
    section: CameraSection, batch: int, *, generator: torch.Generator, step: int = 0
) -> Cameras:
    """Draw training cameras. Jitters follow DreamFusion A.2, read as standard deviations.

    With `object_views` a group's views share their orbit; jitter is still each view's own.
    `step` is the optimiser's, which the size of the images may follow.

    Raises:
        RecipeError: where `batch` views do not make whole groups.
    """
    size, together = section.image_size_at(step), section.views_per_object
    objects = _num_groups(batch, together)
    elevation_deg = sample_elevation_deg(section, objects, generator=generator)
    azimuth_deg = sample_azimuth_deg(section, objects, generator=generator)
    radius = uniform((objects,), *section.radius_range, generator)
    focal = uniform((objects,), *section.focal_range, generator)
    if section.object_views is not None:
        if section.object_views.radius_follows_focal:
            radius = 2 * focal * radius
        elevation_deg, azimuth_deg, radius, focal = (
            value.repeat_interleave(together)
            for value in (elevation_deg, azimuth_deg, radius, focal)
        )
        place = torch.arange(batch, device=azimuth_deg.device) % together
        azimuth_deg = azimuth_deg + place * (360 / together)
    jitter = section.position_jitter
    positions = orbit_position(azimuth_deg, elevation_deg, radius)
    positions = positions + uniform((batch, 3), -jitter, jitter, generator)
    targets = section.look_at_jitter_std * _normal((batch, 3), generator)
    ups = section.up_jitter_std * _normal((batch, 3), generator)
    ups[:, 2] += 1.0
    return Cameras(
        camera_to_world=look_at(positions, targets, ups),
        fov_y_deg=fov_y_from_focal(focal),
        azimuth_deg=azimuth_deg,
        elevation_deg=elevation_deg,
        radius=radius,
        height_px=size,
        width_px=size,
        views_per_object=together,
    )


def _num_groups(batch: int, together: int) -> int:
    if batch % together:
        raise RecipeError(
            f"camera.object_views: found {batch} views, expected a multiple of {together}; "
            "change optimize.batch_size"
        )
    return batch // together


def orbit_cameras(
    azimuth_deg: Float[Tensor, " batch"],
    *,
    elevation_deg: float,
    radius: float,
    fov_y_deg: float,
    image_size_px: int,
) -> Cameras:
    """Return cameras without jitter that look at the origin from the given azimuths."""
    elevations = torch.full_like(azimuth_deg, elevation_deg)
    radii = torch.full_like(azimuth_deg, radius)
    positions = orbit_position(azimuth_deg, elevations, radii)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=positions.dtype, device=positions.device)
    return Cameras(
        camera_to_world=look_at(positions, torch.zeros_like(positions), up.expand_as(positions)),
        fov_y_deg=torch.full_like(azimuth_deg, fov_y_deg),
        azimuth_deg=azimuth_deg,
        elevation_deg=elevations,
        radius=radii,
        height_px=image_size_px,
        width_px=image_size_px,
    )


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
