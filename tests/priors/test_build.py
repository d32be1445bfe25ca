"""Every pretrained family through score distillation: calls, gradients and repeatability."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.load import load_recipe

from .sections import FAMILIES

ROOT = Path(__file__).parents[2]
LOCAL = {"kind": "local", "path": "somewhere"}
SECTIONS = {name: keys for name, keys in FAMILIES.items() if name != "pipeline"}


@pytest.fixture(params=SECTIONS)
def make_prior(request: pytest.FixtureRequest) -> Callable[[], Prior]:
    """Return a function that loads one family again."""
    directory = request.getfixturevalue(request.param)
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    section = adapter.validate_python({"source": LOCAL, **SECTIONS[request.param]})
    return lambda: build_prior(section, directory, "cpu")


def steps(prior: Prior, images: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Descend along SDS's gradient from step `first` to before `last`."""
    section = load_recipe(ROOT / "recipes" / "toybox.yaml").guidance
    words = {"left": "left", "right": "right"}  # 16 letters fit
    short = section.view_prompts.model_copy(update=words)
    section = section.model_copy(update={"view_prompts": short})
    texts = guidance_prompts("a", section)
    prompts = PromptFeatures.of(prior.encode_text(list(texts.values())), texts)
    guidance = build_guidance(section, prior, prompts, generator=torch.Generator())
    cameras = orbit_cameras(
        torch.zeros(len(images)), elevation_deg=0.0, radius=2.0, fov_y_deg=45.0, image_size_px=8
    )
    for step in range(first, last):
        views = Views(images, torch.ones_like(images[:, 0]), cameras)
        output = guidance.guide(views, step, partial(seeding.generator, 0, step=step))
        assert output.gradient.dtype == torch.float32
        assert output.gradient.isfinite().all()
        images = images - 1e-3 * output.gradient
    return images


def test_stopped_and_resumed_is_the_same_to_the_bit(make_prior: Callable[[], Prior]) -> None:
    start = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = steps(make_prior(), start, 0, 3)
    half = steps(make_prior(), start, 0, 2)
    assert torch.equal(steps(make_prior(), half, 2, 3), whole)
    assert not torch.equal(whole, start)


def test_one_encode_one_denoise_and_no_way_back_through_the_denoiser(
    make_prior: Callable[[], Prior],
) -> None:
    prior: Any = make_prior()
    # The last layer: hooks on a gradient's way need a module that returns a tensor.
    last = "conv_out" if hasattr(prior._denoiser, "conv_out") else "proj_out"
    denoiser = prior._denoiser.get_submodule(last)
    calls = {"denoise": 0, "denoise backward": 0, "encode": 0, "encode backward": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    denoiser.register_forward_hook(count("denoise"))
    denoiser.register_full_backward_hook(count("denoise backward"))
    latent = hasattr(type(prior), "_vae")
    if latent:
        prior._vae.encoder.register_forward_hook(count("encode"))
        prior._vae.encoder.register_full_backward_hook(count("encode backward"))
        assert not hasattr(prior._vae, "decoder")
    steps(prior, torch.rand(1, 3, 8, 8), 0, 2)
    encodes = 2 if latent else 0
    assert calls == {
        "denoise": 2,
        "denoise backward": 0,
        "encode": encodes,
        "encode backward": encodes,
    }
