"""Solids whose answers are known in closed form, as meshes and as signed distances."""

import math
from collections.abc import Callable

import numpy as np
import torch
import trimesh
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.geometry import GeometryMetrics, measure_geometry, true_surface
from dreamfusion_kit.evaluation.surface import Surface
from dreamfusion_kit.recipe.evaluation import GeometrySection

PROTOCOL = GeometrySection(
    num_points=1000,
    f_score_distance=0.05,
    surface_resolution=48,
    iou_resolution=36,
    num_azimuths=12,
    scale_range=(0.8, 1.25),
    num_scales=3,
    num_search_points=200,
)


# No search, for tests of the measures on the unaligned mesh.
RAW = PROTOCOL.model_copy(
    update={"num_azimuths": 1, "scale_range": (1.0, 1.0), "num_scales": 1, "num_search_points": 50}
)


# A wedge of two boxes: no rotation about z maps it to itself.
PARTS = (((0.0, 0.0, 0.0), (0.9, 0.4, 0.3)), ((0.3, 0.25, 0.2), (0.3, 0.3, 0.5)))


def sphere_distance(radius: float) -> Callable[[Tensor], Tensor]:
    return lambda points: points.norm(dim=-1) - radius


def box_distance(center: tuple[float, ...], extents: tuple[float, ...]) -> Callable:
    def distance(points: Tensor) -> Tensor:
        offset = (points - torch.tensor(center)).abs() - torch.tensor(extents) / 2
        return offset.clamp_min(0).norm(dim=-1) + offset.amax(dim=-1).clamp_max(0)

    return distance


def wedge_distance(points: Tensor) -> Tensor:
    return torch.stack([box_distance(*part)(points) for part in PARTS]).amin(dim=0)


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    vertices = torch.from_numpy(np.array(mesh.vertices)).float()
    return Surface(vertices, torch.from_numpy(np.array(mesh.faces)).long())


def wedge() -> Surface:
    """The wedge as a mesh of its own, by marching cubes at another resolution."""
    return true_surface(wedge_distance, bounding_radius=0.8, resolution=90)


def moved(surface: Surface, yaw_deg: float, scale: float, shift: tuple[float, ...]) -> Surface:
    angle = math.radians(yaw_deg)
    turn = torch.tensor(
        [
            [math.cos(angle), -math.sin(angle), 0.0],
            [math.sin(angle), math.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    return Surface(scale * surface.vertices @ turn.T + torch.tensor(shift), surface.faces)


def measured(
    surface: Surface, distance: Callable[[Tensor], Tensor], protocol: GeometrySection = PROTOCOL
) -> GeometryMetrics:
    return measure_geometry(
        surface,
        distance,
        protocol,
        bounding_radius=0.8,
        generator=seeding.generator(0, "geometry"),
    )


def joined(*meshes: trimesh.Trimesh) -> Surface:
    return surface_of(trimesh.util.concatenate(list(meshes)))


def as_trimesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)


def box_at(center: tuple[float, ...], extents: tuple[float, ...]) -> trimesh.Trimesh:
    box = trimesh.creation.box(extents=extents)
    box.apply_translation(center)
    return box
