"""Fields with a known surface, and a small mesh section."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.recipe.schema import AdaptiveThresholdSection, MeshSection

Distance = Callable[[Tensor], Tensor]


@pytest.fixture
def section() -> MeshSection:
    return MeshSection(
        grid_resolution=48,
        threshold=AdaptiveThresholdSection(kind="adaptive", fraction=0.5),
        min_component_fraction=0.05,
        max_faces=4000,
        smoothing_iterations=0,
        texture_size_px=128,
        texture_depth=0.0,
        formats=("glb", "obj", "ply", "stl"),
    )


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def solid() -> Callable[..., Distance]:
    """Return a maker of densities: `scale` inside, 0 outside, a logistic edge between."""

    def make(distance: Distance, *, scale: float = 50.0, width: float = 0.02) -> Distance:
        return lambda positions: scale * torch.sigmoid(-distance(positions) / width)

    return make


@pytest.fixture
def sphere() -> Callable[..., Distance]:
    """Return a maker of signed distances to a sphere."""

    def make(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Distance:
        return lambda positions: (positions - torch.tensor(center)).norm(dim=-1) - radius

    return make


@pytest.fixture
def rainbow() -> Distance:
    """Return an albedo that encodes the queried position: `(position + 1) / 2`."""
    return lambda positions: (positions + 1) / 2


@pytest.fixture
def pixels_covered() -> Callable[..., np.ndarray]:
    """Return a function that counts, at each pixel's centre, the faces of an atlas over it."""

    def count(atlas: UvAtlas, size: int) -> np.ndarray:
        covered = np.zeros((size, size), dtype=int)
        for triangle in atlas.uvs[atlas.faces] * size:
            low = np.floor(triangle.min(axis=0)).astype(int)
            high = np.ceil(triangle.max(axis=0)).astype(int)
            x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
            points = np.stack([x, y], axis=-1) + 0.5
            following = np.roll(triangle, -1, axis=0)
            side = [
                (b[0] - a[0]) * (points[..., 1] - a[1]) - (b[1] - a[1]) * (points[..., 0] - a[0])
                for a, b in zip(triangle, following, strict=True)
            ]
            inside = np.all([s > 1e-9 for s in side], axis=0) | np.all(
                [s < -1e-9 for s in side], axis=0
            )
            covered[y[inside], x[inside]] += 1
        return covered

    return count
