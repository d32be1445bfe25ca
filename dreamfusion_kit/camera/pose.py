"""Camera poses on an orbit: spherical position, look-at, field of view.

World: z up, azimuth 0 on +x (the object's front), growing towards +y. Camera: OpenGL
axes, +x right, +y up, looking along -z.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def orbit_position(
    azimuth_deg: Float[Tensor, " batch"],
    elevation_deg: Float[Tensor, " batch"],
    radius: Float[Tensor, " batch"],
) -> Float[Tensor, "batch 3"]:
    """Return the point at the given azimuth, elevation above the ground plane and distance."""
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    direction = torch.stack(
        [
            elevation.cos() * azimuth.cos(),
            elevation.cos() * azimuth.sin(),
            elevation.sin(),
        ],
        dim=-1,
    )
    return radius[:, None] * direction


def look_at(
    positions: Float[Tensor, "batch 3"],
    targets: Float[Tensor, "batch 3"],
    ups: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 4 4"]:
    """Return camera-to-world matrices of cameras at `positions` that look at `targets`.

    `ups` need not be orthogonal to the view, nor unit. A view straight along its up
    vector (the pole of the orbit) has no preferred roll: world +x then replaces up, so
    that the matrix is a rotation for every input.
    """
    backward = torch.nn.functional.normalize(positions - targets, dim=-1)
    right = torch.linalg.cross(ups, backward)
    degenerate = right.norm(dim=-1, keepdim=True) < 1e-6 * ups.norm(dim=-1, keepdim=True)
    fallback_up = torch.tensor([1.0, 0.0, 0.0], dtype=ups.dtype, device=ups.device)
    right = torch.where(degenerate, torch.linalg.cross(fallback_up.expand_as(ups), backward), right)
    right = torch.nn.functional.normalize(right, dim=-1)
    up = torch.linalg.cross(backward, right)
    camera_to_world = torch.zeros(len(positions), 4, 4, dtype=positions.dtype)
    camera_to_world = camera_to_world.to(positions.device)
    camera_to_world[:, :3, 0] = right
    camera_to_world[:, :3, 1] = up
    camera_to_world[:, :3, 2] = backward
    camera_to_world[:, :3, 3] = positions
    camera_to_world[:, 3, 3] = 1.0
    return camera_to_world


def fov_y_from_focal(focal: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return the field of view in degrees of a square image with `focal` in image widths."""
    return torch.rad2deg(2 * torch.atan(0.5 / focal))
