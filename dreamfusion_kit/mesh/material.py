"""How a baked mesh reflects beside its colour: roughness and metallic, as glTF has them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.query import query_field
from dreamfusion_kit.mesh.texture import bake_texture

_DIGITS = 6  # of one number for the whole surface

MaterialFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples 2"]]
"""World positions in; roughness and metallic out, in [0, 1]."""


@dataclass(frozen=True)
class SurfaceMaterial:
    """Roughness and metallic of a whole surface; or, with an `image`, its green and blue channels.

    The image is linear, over the albedo's UVs, and its red channel is 255, as glTF has it.
    """

    roughness: float = 1.0
    metallic: float = 0.0
    image: UInt8[np.ndarray, "h w 3"] | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether the surface is Lambertian, as without a material."""
        return self.image is None and (self.roughness, self.metallic) == (1.0, 0.0)

    def means(self) -> tuple[float, float]:
        """Return roughness and metallic, for formats that take one number: means of an image."""
        if self.image is None:
            return self.roughness, self.metallic
        _, roughness, metallic = (self.image.reshape(-1, 3).mean(axis=0) / 255).tolist()
        return round(roughness, _DIGITS), round(metallic, _DIGITS)


PLAIN = SurfaceMaterial()


def bake_material(
    surface: Isosurface,
    normals: Float[np.ndarray, "vertices 3"],
    atlas: UvAtlas,
    values: MaterialFunction,
    *,
    varies: bool,
    texture_size_px: int,
    device: torch.device,
) -> SurfaceMaterial:
    """Return the material of a surface, as an image only if it `varies` from place to place."""
    if not varies:
        found = query_field(values, np.zeros((1, 3)), device=device)[0]
        roughness, metallic = (round(value, _DIGITS) for value in found.tolist())
        return SurfaceMaterial(roughness, metallic)

    def packed(
        positions: Float[Tensor, "samples 3"], directions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples 3"]:
        both = values(positions)
        return torch.cat([torch.ones_like(both[:, :1]), both], dim=-1)

    image = bake_texture(
        surface, normals, atlas, packed, texture_size_px=texture_size_px, device=device
    )
    return SurfaceMaterial(1.0, 1.0, image)
