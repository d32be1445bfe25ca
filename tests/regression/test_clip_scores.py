"""The shipped weights against stored scores.

The numbers move when the weights, the renderer, the guidance or a library moves them; the
CHANGELOG's "Results" says which. Regenerate with
`python -m pytest -m regression --force-regen`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
from pytest_regressions.num_regression import NumericRegressionFixture

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.r_precision import cosine_similarity
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.optimize.monitor import Monitors
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT
from dreamfusion_kit.records import Cameras, Lighting
from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.flow_model import T5_TOKENS
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import scene

pytestmark = pytest.mark.regression

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "dreamfusion_kit" / "toybox" / "weights"
PAIRS = (("red", "mug"), ("blue", "house"), ("green", "robot"), ("yellow", "duck"))
CPU = torch.device("cpu")
# Kernels differ between processors in the last bits; scores are means of many of them.
TOLERANCE = {"atol": 5e-3, "rtol": 0.0}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(WEIGHTS / "clip", device=CPU)


def scores(clip: Clip, render_view: Callable[..., torch.Tensor], text: str) -> torch.Tensor:
    """Return the cosine of each of the protocol's views with the caption."""
    views = load_suite(ROOT, DEFAULT).evaluation.views
    images = render_images(render_view, views, textureless=False, supersampling=1)
    return cosine_similarity(clip.image_features(images), clip.text_features([text]))[:, 0]


def test_true_renders(clip: Clip, num_regression: NumericRegressionFixture) -> None:
    """The judge: cosines of true renders with their own captions."""
    found = {}
    for color, name in PAIRS:
        solid = scene(name, color)
        values = scores(
            clip,
            lambda *inputs, solid=solid: render_scene(solid, *inputs)[0],
            caption(color, name),
        )
        found[f"{color}_{name}"] = values.numpy()
    num_regression.check(found, default_tolerance=TOLERANCE)


def test_prior_samples(clip: Clip, num_regression: NumericRegressionFixture) -> None:
    """The prior: cosines of a few samples with their own prompts."""
    from dreamfusion_kit.stages.toybox_layout import settings

    sections = settings(ROOT)
    prior = ToyboxPrior(sections.prior, sections.dataset.camera.largest_image_size_px)
    prior.load_pretrained(WEIGHTS / "prior")
    prompts = [caption(color, name) for color, name in PAIRS]
    with torch.no_grad():
        images = prior.sample(prompts, guidance_scale=3.0, num_steps=10, seed=0)
    similarity = cosine_similarity(clip.image_features(images), clip.text_features(prompts))
    found = {"cosine": similarity.diagonal().numpy()}
    num_regression.check(found, default_tolerance={"atol": 2e-2, "rtol": 0.0})


@pytest.mark.parametrize("name", ["latent", "flow"])
def test_samples_by_diffusers(
    name: str, clip: Clip, num_regression: NumericRegressionFixture
) -> None:
    """The priors on latents, by diffusers' own pipelines: cosines of a few samples."""
    # The flow was trained without T5, of which the pipeline makes zeros.
    without_t5: Any = {"text_encoder_3": None, "tokenizer_3": None} if name == "flow" else {}
    pipeline: Any = DiffusionPipeline.from_pretrained(
        WEIGHTS / name, dtype=torch.float32, local_files_only=True, **without_t5
    )
    pipeline.set_progress_bar_config(disable=True)
    prompts = [caption(color, solid) for color, solid in PAIRS]
    drawn = pipeline(
        prompts,
        guidance_scale=3.0,
        num_inference_steps=20,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        **({"max_sequence_length": T5_TOKENS} if name == "flow" else {}),
    )
    images = drawn.images.permute(0, 2, 3, 1)
    similarity = cosine_similarity(clip.image_features(images), clip.text_features(prompts))
    assert similarity.argmax(dim=1).tolist() == list(range(len(PAIRS)))
    found = {"cosine": similarity.diagonal().numpy()}
    num_regression.check(found, default_tolerance={"atol": 2e-2, "rtol": 0.0})


def test_short_optimisation(
    clip: Clip, num_regression: NumericRegressionFixture, tmp_path: Path
) -> None:
    """The method: cosines of the field's views after a few steps of the smoke recipe."""
    recipe = load_recipe(ROOT / "recipes" / "toybox-smoke.yaml")
    prior = build_prior(recipe.prior, WEIGHTS / "prior", CPU)
    prompts = guidance_prompts("a red ball", recipe.guidance)
    key = hashlib.sha256(b"regression").hexdigest()
    with open_scratch(tmp_path, key) as scratch:
        result = optimize(
            recipe,
            seed=0,
            prior=prior,
            text=prior.encode_text(list(prompts.values())),
            prompts=prompts,
            scratch=scratch,
            device=CPU,
            monitor=Monitors(),
        )
    model = result.model.eval()

    @torch.no_grad()
    def render_view(cameras: Cameras, lighting: Lighting, background: torch.Tensor) -> torch.Tensor:
        return model.render(pixel_rays(cameras), lighting, background).image

    values = scores(clip, render_view, "a red ball")
    num_regression.check({"cosine": values.numpy()}, default_tolerance=TOLERANCE)
