"""Signed distances of simple solids, vectorised over points.

Notation: `p` are points `samples 3` in scene units, z up. Every function returns a lower
bound of the distance to the solid's surface, negative inside, so that sphere tracing
never oversteps. Lengths such as `half` are half sizes.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Points = Float[Tensor, "samples 3"]
Distances = Float[Tensor, " samples"]


def moved(p: Points, offset: Sequence[float]) -> Points:
    """Return the points as seen from a solid whose centre is at `offset`."""
    return p - torch.tensor(offset, dtype=p.dtype, device=p.device)


def turned_y(p: Points, angle_deg: float) -> Points:
    """Return the points as seen from a solid that leans from +z towards +x by the angle."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y, z = p.unbind(-1)
    return torch.stack([cosine * x - sine * z, y, sine * x + cosine * z], dim=-1)


def ball(p: Points, radius: float) -> Distances:
    """Sphere at the origin."""
    return p.norm(dim=-1) - radius


def ellipsoid(p: Points, half: Sequence[float]) -> Distances:
    """Ellipsoid: the scaled sphere's distance, made a lower bound by the shortest half axis."""
    axes = torch.tensor(half, dtype=p.dtype, device=p.device)
    return ((p / axes).norm(dim=-1) - 1.0) * min(half)


def box(p: Points, half: Sequence[float], rounding: float = 0.0) -> Distances:
    """Box with half sizes `half`, its edges rounded inwards by `rounding`."""
    q = p.abs() - torch.tensor([h - rounding for h in half], dtype=p.dtype, device=p.device)
    outside = q.clamp_min(0).norm(dim=-1)
    inside = q.amax(dim=-1).clamp_max(0)
    return outside + inside - rounding


def cylinder(p: Points, radius: float, half_height: float) -> Distances:
    """Upright cylinder."""
    radial = p[..., :2].norm(dim=-1) - radius
    vertical = p[..., 2].abs() - half_height
    outside = torch.stack([radial, vertical], dim=-1).clamp_min(0).norm(dim=-1)
    return outside + torch.maximum(radial, vertical).clamp_max(0)


def cone(p: Points, bottom_radius: float, top_radius: float, half_height: float) -> Distances:
    """Upright truncated cone: the slanted side's plane distance cut by the two caps."""
    slope = (bottom_radius - top_radius) / (2 * half_height)
    radial = p[..., :2].norm(dim=-1)
    side_radius = bottom_radius - slope * (p[..., 2] + half_height)
    side = (radial - side_radius) / math.sqrt(1 + slope**2)
    return torch.maximum(side, p[..., 2].abs() - half_height)


def torus(p: Points, ring_radius: float, tube_radius: float) -> Distances:
    """Ring that lies in the ground plane."""
    radial = p[..., :2].norm(dim=-1) - ring_radius
    return torch.stack([radial, p[..., 2]], dim=-1).norm(dim=-1) - tube_radius


def capsule(p: Points, start: Sequence[float], end: Sequence[float], radius: float) -> Distances:
    """Round-ended rod between two points."""
    a = torch.tensor(start, dtype=p.dtype, device=p.device)
    axis = torch.tensor(end, dtype=p.dtype, device=p.device) - a
    along = ((p - a) @ axis / axis.dot(axis)).clamp(0, 1)
    return (p - a - along[..., None] * axis).norm(dim=-1) - radius


def gable(p: Points, half: Sequence[float]) -> Distances:
    """Roof: a triangular prism with its ridge along y, base at -half_z, apex at +half_z."""
    half_x, half_y, half_z = half
    steepness = 2 * half_z / half_x
    slant = (p[..., 2] - half_z + steepness * p[..., 0].abs()) / math.sqrt(1 + steepness**2)
    return torch.maximum(torch.maximum(slant, p[..., 1].abs() - half_y), -p[..., 2] - half_z)


def union(*distances: Distances) -> Distances:
    """Both solids."""
    return torch.stack(distances).amin(dim=0)


def cut(distances: Distances, removed: Distances) -> Distances:
    """The first solid without the second."""
    return torch.maximum(distances, -removed)
