from typing import Any

import pytest

from dreamfusion_kit.recipe.schema import (
    GaussianBiasSection,
    HashGridSection,
    LinearSchedule,
    MipMlpSection,
    VoxelGridSection,
)

SHARED: dict[str, Any] = {
    "bounding_radius": 1.4,
    "density_activation": "softplus",
    "density_bias": GaussianBiasSection(kind="gaussian", stage="pre", scale=5.0, std=0.2),
    "density_offset": -5.0,
}


@pytest.fixture
def voxel_section() -> VoxelGridSection:
    return VoxelGridSection(
        kind="voxel_grid",
        resolution=9,
        density_learning_rate=0.1,
        initial_albedo=0.5,
        albedo_learning_rate=0.02,
        **SHARED,
    )


@pytest.fixture
def hash_section() -> HashGridSection:
    return HashGridSection(
        kind="hash_grid",
        num_levels=4,
        features_per_level=2,
        log2_table_size=10,
        min_resolution=4,
        max_resolution=32,
        initial_levels=2,
        level_every_steps=10,
        hidden_width=8,
        num_hidden_layers=1,
        backend="torch",
        normal_epsilon=0.01,
        encoding_learning_rate=0.01,
        network_learning_rate=0.001,
        **SHARED,
    )


@pytest.fixture
def mip_section() -> MipMlpSection:
    return MipMlpSection(
        kind="mip_mlp",
        num_blocks=2,
        hidden_width=8,
        num_frequencies=4,
        covariance=LinearSchedule(start=0.05, end=0.002, from_step=0, to_step=5000),
        space="ball",
        learning_rate=1e-4,
        **SHARED | {"density_activation": "exp", "density_offset": -1.0},
    )
