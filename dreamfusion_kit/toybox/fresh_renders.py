"""True renders that no training saw, with the prior's cameras and backgrounds."""

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.recipe.schema import PlainBackgroundSection
from dreamfusion_kit.records import Cameras
from dreamfusion_kit.renderer.background import sample_background
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import view_words
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.settings import DatasetSection
from dreamfusion_kit.toybox.shapes import scene

_OVERSAMPLING = 64  # the rarest view, overhead, is one camera in five


def fresh_renders(
    settings: DatasetSection,
    background: PlainBackgroundSection,
    *,
    color: str,
    object_name: str,
    view: str,
    count: int,
) -> Float[Tensor, "images h w 3"]:
    """Return colour renders of a pair from one side.

    They show what the prior's data set shows under the caption "a red mug, front view", but
    are drawn with other random numbers.
    """
    draw = make_generator(settings.seed, f"fresh/{color}/{object_name}/{view}")
    # Stratified draws are ordered by azimuth: the first few would all be alike.
    section = settings.camera.model_copy(update={"stratified_azimuth": False})
    cameras = sample_cameras(section, _OVERSAMPLING * count, generator=draw)
    words = map(view_words, cameras.azimuth_deg.tolist(), cameras.elevation_deg.tolist())
    cameras = _selected(
        cameras, [index for index, word in enumerate(words) if word == view][:count]
    )
    shading = settings.shading.model_copy(update={"textureless_probability": 0.0})
    lighting = sample_lighting(
        settings.light, shading, cameras, step=shading.albedo_only_steps, generator=draw
    )
    size = section.largest_image_size_px
    behind = sample_background(background, count, size, size, generator=draw)
    return render_scene(scene(object_name, color), cameras, lighting, behind)[0]


def _selected(cameras: Cameras, indices: list[int]) -> Cameras:
    return Cameras(
        camera_to_world=cameras.camera_to_world[indices],
        fov_y_deg=cameras.fov_y_deg[indices],
        azimuth_deg=cameras.azimuth_deg[indices],
        elevation_deg=cameras.elevation_deg[indices],
        radius=cameras.radius[indices],
        height_px=cameras.height_px,
        width_px=cameras.width_px,
    )
