"""The shipped multi-view prior on renders and samples: does it know from where it looks?"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.stages.toybox_layout import settings
from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.latent_model import load_latent
from dreamfusion_kit.toybox.latent_views import encode_object_views
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_sheet import group_cameras
from dreamfusion_kit.toybox.shapes import COLORS, DISTINCT_SIDES
from dreamfusion_kit.toybox.view_model import load_view_model

pytestmark = pytest.mark.regression

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STRONG_NOISE = 850


@cache
def shipped() -> ToyboxMultiView:
    model = ToyboxMultiView(load_latent(packaged.MODELS / "latent"), 4)
    model.load(packaged.MODELS / "multiview")
    return model


@torch.no_grad()
def test_the_right_cameras_explain_renders_better_than_those_of_the_other_side() -> None:
    model, section = shipped(), settings(ROOT).multi_view
    changes = {"seed": section.seed + 1, "objects_per_shelf": 12, "backgrounds_per_object": 1}
    shelf = encode_object_views(model.latent, section.model_copy(update=changes), 0, device=CPU)
    clean = shelf.latents.flatten(0, 1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.full((len(clean),), STRONG_NOISE)
    scheduler: Any = model.latent.scheduler
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    text = shelf.plain.repeat_interleave(4, dim=0)
    right, opposite = (
        (model.predict(noisy, timesteps, text, cameras.flatten(0, 1)) - velocity).square().mean()
        for cameras in (shelf.cameras, shelf.cameras.roll(2, dims=1))
    )
    assert opposite > 1.03 * right


def test_samples_show_the_side_that_the_camera_sees() -> None:
    model, judge = shipped(), load_view_model(packaged.MODELS / "view")
    names = sorted(DISTINCT_SIDES)
    prompts = [caption(tuple(COLORS)[number], name) for number, name in enumerate(names)]
    images = model.sample(prompts, group_cameras(4), guidance_scale=3.0, num_steps=10, seed=0)
    hits = [
        seen == side
        for name, views in zip(names, images, strict=True)
        for seen, side in zip(
            judge.views(views, name), ("front", "side", "back", "side"), strict=True
        )
    ]
    assert torch.tensor(hits).double().mean() > 0.6
