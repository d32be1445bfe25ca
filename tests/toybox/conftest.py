"""Tiny settings: 16-pixel renders, two-level networks, four steps."""

from typing import Any

import pytest
import torch

from dreamfusion_kit.recipe.schema import (
    CameraSection,
    LightSection,
    ObjectViewsSection,
    RandomBackgroundSection,
    ShadingSection,
)
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.latent_settings import (
    FlowTrainingSection,
    LatentTrainingSection,
    ShelfSection,
    VaeTrainingSection,
)
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.settings import (
    ClipTrainingSection,
    DatasetSection,
    PriorTrainingSection,
    ViewTrainingSection,
)
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

SIZE_PX = 16
BACKGROUND = RandomBackgroundSection(
    kind="random", value_range=(0.2, 1.0), saturation_max=0.3, gradient_probability=0.5
)
TRAINING: dict[str, Any] = {
    "seed": 0,
    "num_steps": 4,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "decay_steps": 2,
    "weight_decay": 0.01,
    "checkpoint_every_steps": 2,
    "background": BACKGROUND,
}


@pytest.fixture
def dataset_settings() -> DatasetSection:
    return DatasetSection(
        seed=0,
        images_per_pair=1,
        camera=CameraSection(
            image_size_px=8,
            elevation_range_deg=(-15, 85),
            azimuth_range_deg=(0, 360),
            radius_range=(2.0, 2.5),
            focal_range=(0.98, 1.22),
            uniform_sphere_probability=0.5,
            position_jitter=0.05,
            look_at_jitter_std=0.03,
            up_jitter_std=0.02,
            stratified_azimuth=True,
        ),
        light=LightSection(direction_std=1.0, distance_range=(1.8, 3.0)),
        shading=ShadingSection(
            albedo_only_steps=0,
            shaded_probability=0.75,
            textureless_probability=0.5,
            ambient=0.3,
            diffuse=0.7,
        ),
    )


@pytest.fixture
def prior_settings() -> PriorTrainingSection:
    return PriorTrainingSection(
        **TRAINING,
        steps_per_shelf=3,
        patch_size=2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_levels=(1,),
        text_width=16,
        text_layers=1,
        caption_dropout=0.12,
        timestep_power=0.5,
        attribute_lambda=0.05,
        ema_decay=0.9,
        sample_every_steps=1000,
    )


@pytest.fixture
def multi_view_settings(dataset_settings: DatasetSection) -> MultiViewTrainingSection:
    camera = dataset_settings.camera.model_copy(
        update={
            "image_size_px": SIZE_PX,
            "elevation_range_deg": (-10, 50),
            "position_jitter": 0.0,
            "object_views": ObjectViewsSection(count=4, radius_follows_focal=False),
        }
    )
    return MultiViewTrainingSection(
        **TRAINING | {"batch_size": 8},
        initial="dreamfusion_kit/toybox/weights/latent",
        camera=camera,
        light=dataset_settings.light,
        shading=dataset_settings.shading,
        object_weights=dict.fromkeys(OBJECTS, 1.0),
        objects_per_shelf=3,
        backgrounds_per_object=2,
        steps_per_shelf=2,
        caption_dropout=0.12,
        timestep_power=0.5,
        camera_rate=8.0,
        teacher_lambda=1.0,
        ema_decay=0.9,
    )


@pytest.fixture
def clip_settings() -> ClipTrainingSection:
    return ClipTrainingSection(**TRAINING, width=16, layers=1, image_patch_px=8, embedding_size=16)


@pytest.fixture
def shelf_settings(dataset_settings: DatasetSection) -> ShelfSection:
    camera = dataset_settings.camera.model_copy(update={"image_size_px": SIZE_PX})
    return ShelfSection(
        seed=0,
        shelf_size=20,
        object_weights=dict.fromkeys(OBJECTS, 1.0),
        camera=camera,
        light=dataset_settings.light,
        shading=dataset_settings.shading,
    )


@pytest.fixture
def vae_settings() -> VaeTrainingSection:
    return VaeTrainingSection(
        **TRAINING,
        steps_per_shelf=3,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_groups=1,
        latent_channels=4,
        kl_lambda=1e-5,
        ema_decay=0.9,
    )


DENOISER = TRAINING | {
    "steps_per_shelf": 3,
    "backgrounds_per_render": 2,
    "text_from": "dreamfusion_kit/toybox/weights/prior",
    "caption_dropout": 0.25,
    "timestep_power": 0.5,
    "ema_decay": 0.9,
    "sample_every_steps": 1000,
}


@pytest.fixture
def latent_settings() -> LatentTrainingSection:
    return LatentTrainingSection(
        **DENOISER,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_levels=(1,),
        norm_groups=8,
        num_heads=2,
    )


@pytest.fixture
def flow_settings() -> FlowTrainingSection:
    return FlowTrainingSection(**DENOISER, patch_size=2, num_layers=2, num_heads=2, head_width=8)


@pytest.fixture
def view_settings() -> ViewTrainingSection:
    return ViewTrainingSection(**TRAINING, channels=(8, 16))


@pytest.fixture
def dataset() -> Dataset:
    """Noise in place of renders, with every index in range: trainings do not look."""
    draw = torch.Generator().manual_seed(0)
    count = 12
    alpha = torch.randint(256, (count, SIZE_PX, SIZE_PX, 1), generator=draw)
    color = torch.rand(count, SIZE_PX, SIZE_PX, 3, generator=draw) * alpha
    return Dataset(
        rgba=torch.cat([color, alpha], dim=-1).to(torch.uint8),
        object_index=torch.arange(count) % len(OBJECTS),
        color_index=torch.arange(-1, count - 1) % len(COLORS),
        azimuth_deg=torch.linspace(0, 330, count),
        elevation_deg=torch.linspace(-10, 80, count),
    )
