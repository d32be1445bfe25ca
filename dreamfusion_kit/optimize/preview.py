"""A small picture of the field as it grows, always from the same camera."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.image_files import png_bytes, quantized
from dreamfusion_kit.recipe.schema import CameraSection, ShadingSection
from dreamfusion_kit.records import Cameras, Lighting

AZIMUTH_DEG = 30.0
ELEVATION_DEG = 20.0
BACKGROUND = 0.5  # mid grey: neither a black nor a white object vanishes in it

RenderView = Callable[
    [Cameras, Lighting, Float[Tensor, "batch h w 3"]], Float[Tensor, "batch h w 3"]
]


def preview_png(
    camera: CameraSection, shading: ShadingSection, render_view: RenderView, *, device: torch.device
) -> bytes:
    """Return a PNG with the albedo on the left and the textureless shape on the right.

    The camera stands at the middle of the recipe's ranges without jitter, its light
    beside it. Equal fields give equal bytes.
    """
    cameras = _preview_cameras(camera, device)
    lighting = _albedo_and_shape(shading, cameras)
    background = torch.full((2, cameras.height_px, cameras.width_px, 3), BACKGROUND, device=device)
    with torch.no_grad():
        images = render_view(cameras, lighting, background)
    return png_bytes(quantized(torch.cat(list(images), dim=1)))


def _preview_cameras(camera: CameraSection, device: torch.device) -> Cameras:
    """Return the preview's camera twice, one for each half of the picture."""
    azimuth_deg = torch.full((2,), AZIMUTH_DEG, device=device)
    return middle_cameras(camera, azimuth_deg, ELEVATION_DEG, camera.preview_image_size_px)


def middle_cameras(
    camera: CameraSection,
    azimuth_deg: Float[Tensor, " batch"],
    elevation_deg: float,
    image_size_px: int,
) -> Cameras:
    """Return cameras at the middle of the recipe's ranges of radius and focal length."""
    middle = sum(camera.focal_range) / 2
    focal = torch.tensor([middle], device=azimuth_deg.device)
    return orbit_cameras(
        azimuth_deg,
        elevation_deg=elevation_deg,
        radius=camera.distance(sum(camera.radius_range) / 2, middle),
        fov_y_deg=float(fov_y_from_focal(focal)),
        image_size_px=image_size_px,
    )


def _albedo_and_shape(shading: ShadingSection, cameras: Cameras) -> Lighting:
    device = cameras.azimuth_deg.device
    return Lighting(
        positions=cameras.positions,
        ambient=torch.tensor([1.0, shading.ambient], device=device),
        diffuse=torch.tensor([0.0, shading.diffuse], device=device),
        textureless=torch.tensor([False, True], device=device),
    )
