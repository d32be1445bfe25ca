"""Random point lights and shading modes (DreamFusion, s. 3.1 and A.2)."""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.sampler import uniform
from dreamfusion_kit.recipe.schema import LightSection, ShadingSection
from dreamfusion_kit.records import Cameras, Lighting


def sample_light_positions(
    section: LightSection, cameras: Cameras, *, generator: torch.Generator
) -> Float[Tensor, "batch 3"]:
    """Draw lights near the camera's side: direction ~ N(camera, std^2 I), then a distance."""
    noise = torch.randn(cameras.positions.shape, generator=generator, device=generator.device)
    direction = cameras.positions + section.direction_std * noise
    direction = torch.nn.functional.normalize(direction, dim=-1)
    distance = uniform((len(direction), 1), *section.distance_range, generator)
    return distance * direction


def sample_lighting(
    light: LightSection,
    shading: ShadingSection,
    cameras: Cameras,
    step: int,
    *,
    generator: torch.Generator,
) -> Lighting:
    """Draw a light for each image, and a shading mode for each object that is seen.

    Before `albedo_only_steps` every image shows the albedo; afterwards an image is shaded
    with `shaded_probability`, and a shaded one is textureless with
    `textureless_probability` (DreamFusion, s. 3.1). The views of a group share their mode:
    four views of one object are all of plaster, or none is.
    """
    together = cameras.views_per_object
    objects = len(cameras.positions) // together
    positions = sample_light_positions(light, cameras, generator=generator)
    shaded = uniform((objects,), 0.0, 1.0, generator) < shading.shaded_probability
    textureless = uniform((objects,), 0.0, 1.0, generator) < shading.textureless_probability
    if together > 1:
        shaded, textureless = (mode.repeat_interleave(together) for mode in (shaded, textureless))
    shaded = shaded & (step >= shading.albedo_only_steps)
    one, zero = torch.ones_like(positions[:, 0]), torch.zeros_like(positions[:, 0])
    return Lighting(
        positions=positions,
        ambient=torch.where(shaded, shading.ambient * one, one),
        diffuse=torch.where(shaded, shading.diffuse * one, zero),
        textureless=textureless & shaded,
    )


def albedo_lighting(cameras: Cameras) -> Lighting:
    """Return the lighting under which a render shows the albedo itself."""
    zero = torch.zeros_like(cameras.azimuth_deg)
    return Lighting(cameras.positions, zero + 1, zero, zero.bool())


def headlight(cameras: Cameras, *, ambient: float, diffuse: float, textureless: bool) -> Lighting:
    """Return one light at each camera, as used for the evaluation's fixed views."""
    zero = torch.zeros_like(cameras.azimuth_deg)
    mode = torch.full_like(zero, float(textureless)).bool()
    return Lighting(cameras.positions, zero + ambient, zero + diffuse, mode)
