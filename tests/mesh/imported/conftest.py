"""Small models in files, written by trimesh or by hand."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.recipe.imported import ImportSection


@pytest.fixture
def section() -> Callable[..., ImportSection]:
    """Return a maker of the section that pins all files of a folder."""

    def make(folder: Path, file: str, **changes: object) -> ImportSection:
        files = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        usual = {"up": "y", "front": "z", "meters_per_unit": 1.0, "uvs": "unwrap"}
        return ImportSection.model_validate({"file": file, "files": files, **usual, **changes})

    return make


@pytest.fixture
def quartered() -> Callable[[Path], Path]:
    """Return a writer of a GLB: a square in y-up x and y, its texture's quarters in four colours.

    Seen from its front (+z): red upper left, green upper right, blue lower left, white lower right.
    """

    def write(path: Path) -> Path:
        image = Image.fromarray(
            np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
        ).resize((64, 64), Image.Resampling.NEAREST)
        mesh = trimesh.Trimesh(
            [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]]
        )
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
        mesh.visual = trimesh.visual.TextureVisuals(
            uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material
        )
        mesh.export(path)
        return path

    return write
