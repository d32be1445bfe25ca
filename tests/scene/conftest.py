"""A GLB as the kit writes it: a square whose quarters have four colours, and its model."""

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.scene.placement import Model, read_model

QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)


@pytest.fixture
def sign(tmp_path: Path) -> Model:
    """Return an upright square sign of side 2 that looks along +x, red in its upper left."""
    image = Image.fromarray(QUARTERS).resize((32, 32), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    mesh = trimesh.Trimesh(
        [[-1, 0, 0], [1, 0, 0], [1, 2, 0], [-1, 2, 0]],
        [[0, 1, 2], [0, 2, 3]],
        vertex_normals=[[0, 0, 1]] * 4,
        process=False,
    )
    material = trimesh.visual.material.PBRMaterial(
        name="sign",
        baseColorTexture=Image.open(buffer),
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material
    )
    path = tmp_path / "sign.glb"
    trimesh.Scene({"sign": mesh}).export(path, include_normals=True)
    return read_model(path, "sign")
