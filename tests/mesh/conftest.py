"""Fields with a known surface, and a small mesh section."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

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
