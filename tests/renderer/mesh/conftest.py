"""Meshes and cameras of the renderer's tests."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.records import Cameras, Surface

MakeSurface = Callable[[str], Surface]
MakeCameras = Callable[..., Cameras]


@pytest.fixture
def shape() -> MakeSurface:
    """Return a maker of a sphere, a cube or a torus."""

    def make(name: str) -> Surface:
        match name:
            case "sphere":
                mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
            case "cube":
                mesh = trimesh.creation.box((0.9, 0.9, 0.9))
            case _:
                mesh = trimesh.creation.torus(0.5, 0.2, major_sections=96, minor_sections=48)
        vertices = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)
        return Surface(vertices, torch.tensor(np.array(mesh.faces)))

    return make


@pytest.fixture
def camera() -> MakeCameras:
    """Return a maker of one camera per azimuth."""

    def make(size_px: int, *azimuths: float) -> Cameras:
        return orbit_cameras(
            torch.tensor(azimuths or (20.0,)),
            elevation_deg=25.0,
            radius=2.2,
            fov_y_deg=45.0,
            image_size_px=size_px,
        )

    return make
