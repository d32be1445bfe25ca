"""Lambertian shading with a point light (DreamFusion, s. 3.1)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def shade(
    albedo: Float[Tensor, "*points 3"],
    normals: Float[Tensor, "*points 3"],
    positions: Float[Tensor, "*points 3"],
    light_positions: Float[Tensor, "*points 3"],
    ambient: Float[Tensor, "*points"],
    diffuse: Float[Tensor, "*points"],
    textureless: Bool[Tensor, "*points"],
) -> Float[Tensor, "*points 3"]:
    """Return `albedo * (diffuse * max(0, n.l) + ambient)`, with albedo 1 where textureless.

    `normals` are unit and outward. A textureless point sends no gradient to its albedo.
    """
    to_light = torch.nn.functional.normalize(light_positions - positions, dim=-1)
    cosine = (normals * to_light).sum(dim=-1).clamp_min(0)
    reflectance = torch.where(textureless[..., None], torch.ones_like(albedo), albedo)
    return reflectance * (diffuse * cosine + ambient)[..., None]
