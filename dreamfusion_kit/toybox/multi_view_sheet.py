"""The sheet of the multi-view prior's samples: objects across, the views of a group down."""

from dataclasses import replace

import torch
from PIL import Image

from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.records import Cameras
from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

_STEPS, _SCALE = 10, 3.0
_ELEVATION_DEG, _RADIUS, _FOV_Y_DEG = 20.0, 2.2, 49.0  # the middle of what the prior has seen


def group_cameras(num_views: int, *, first_azimuth_deg: float = 0.0) -> Cameras:
    """Return one group of cameras evenly around an object, the first at `first_azimuth_deg`."""
    azimuths = first_azimuth_deg + torch.arange(num_views) * 360 / num_views
    orbit = orbit_cameras(
        azimuths,
        elevation_deg=_ELEVATION_DEG,
        radius=_RADIUS,
        fov_y_deg=_FOV_Y_DEG,
        image_size_px=64,
    )
    return replace(orbit, views_per_object=num_views)


def multi_view_sheet(model: ToyboxMultiView) -> Image.Image:
    """Draw every object in one colour; the first row is seen from the front."""
    colors = tuple(COLORS)
    captions = [caption(colors[i % len(colors)], name) for i, name in enumerate(OBJECTS)]
    cameras = group_cameras(model.num_views)
    images = model.sample(captions, cameras, guidance_scale=_SCALE, num_steps=_STEPS, seed=0)
    columns = torch.cat(list(images.cpu().flatten(1, 2)), dim=1)
    return Image.fromarray((columns * 255).round().byte().numpy())
