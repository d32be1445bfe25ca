"""Measure the toybox's own models: the judges on true renders, the prior by the judges."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.evaluation.clip import load_clip
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.toybox_models import (
    Json,
    Judges,
    ceiling,
    measure_samples,
    side_accuracy,
    toybox_judges,
    view_accuracy,
)
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT
from dreamfusion_kit.stages.toybox_layout import METRICS, WEIGHTS, settings
from dreamfusion_kit.toybox.captions import caption_pool
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.reference_images import mean_side_views, true_renders
from dreamfusion_kit.toybox.sample_sheet import draw_sheet
from dreamfusion_kit.toybox.samples import Samples, prompt_batches, sample_prior
from dreamfusion_kit.toybox.settings import ToyboxSettings
from dreamfusion_kit.toybox.shapes import DISTINCT_SIDES
from dreamfusion_kit.toybox.view_model import load_view_model

GUIDANCE_SCALES = (1.0, 3.0, 7.5)
_EVERY_SIDE_AT = 3.0  # the guidance scale whose views are measured in most detail
_SAMPLER_STEPS = 8
_DECIMALS = 4


def run(workspace: Path, device: torch.device, *, sheet: Path) -> Path:
    """Write toybox/metrics/toybox-models.json, and the sheet of samples to `sheet`."""
    if sheet.suffix != ".png":
        raise DreamFusionKitError(f"--sheet {sheet}: expected a file whose name ends in .png")
    for target in (METRICS, sheet):  # before minutes of sampling
        files.check_writable(workspace / target, folder=False)
    sections = settings(workspace)
    judges = toybox_judges(
        load_clip(workspace / WEIGHTS / "clip", device=device),
        load_view_model(workspace / WEIGHTS / "view", device=device),
    )
    by_true_renders = ceiling(judges, load_suite(workspace, DEFAULT).evaluation, _progress)
    reference, stand_in = true_renders(sections, _progress)
    left_right = mean_side_views(sections, _progress)
    by_scale = _sample(workspace, sections, device)
    metrics: Json = {
        "caption_pool": CaptionPool(caption_pool()).sha256,
        "clip": by_true_renders,
        "prior": {
            f"guidance_scale_{scale:g}": measure_samples(judges, samples, reference)
            | side_accuracy(left_right, samples)
            for scale, samples in by_scale.items()
        },
        "true_renders": measure_samples(judges, stand_in, reference)
        | view_accuracy(judges.view, reference)
        | side_accuracy(left_right, reference),
        "method": _method(judges, by_scale, reference),
    }
    files.write_json(workspace / METRICS, _rounded(metrics))
    draw_sheet(by_scale).save(workspace / sheet)
    return METRICS


def _sample(
    workspace: Path, sections: ToyboxSettings, device: torch.device
) -> dict[float, Samples]:
    prior = ToyboxPrior(sections.prior, sections.dataset.camera.largest_image_size_px)
    prior.load_pretrained(workspace / WEIGHTS / "prior")
    prior.to(device).eval()
    plans = {scale: scale == _EVERY_SIDE_AT for scale in GUIDANCE_SCALES}
    total = sum(len(b) for every in plans.values() for b in prompt_batches(every_side=every))
    report = _progress("samples", total)
    return {
        scale: sample_prior(
            prior,
            guidance_scale=scale,
            num_steps=_SAMPLER_STEPS,
            every_side=every_side,
            report=report,
        )
        for scale, every_side in plans.items()
    }


def _method(judges: Judges, by_scale: dict[float, Samples], reference: Samples) -> Json:
    """Describe how the numbers were measured: they hold for these counts and this sampler."""
    in_turn = next(iter(by_scale.values())).where(lambda prompt: prompt.is_in_turn)
    return {
        "sampler": "DPM-Solver++(2M)",
        "sampler_steps": _SAMPLER_STEPS,
        "prompts": "every pair once, its view named; the views take turns",
        "num_prompts": len(in_turn.prompts),
        "num_view_samples": {
            f"guidance_scale_{scale:g}": sum(
                prompt.object_name in DISTINCT_SIDES for prompt in samples.prompts
            )
            for scale, samples in by_scale.items()
        },
        "frechet_features": "unit image features of the toybox CLIP",
        "frechet_dimensions": judges.captions.shape[1],
        "frechet_num_images": len(in_turn.prompts),
        "frechet_num_reference_images": len(reference.prompts),
        "true_renders": "fresh renders of the same pairs and views by the prior's cameras, "
        "lights and backgrounds",
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, _DECIMALS) if isinstance(value, float) else value


def _progress(name: str, total: int) -> Callable[[int], None]:
    """Return a callback that shows how many of the images are done, and the elapsed time."""
    started, done = time.monotonic(), 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        seconds = time.monotonic() - started
        end = "\n" if done >= total else ""
        print(f"\r{name}: {done}/{total}  {seconds:.0f} s", end=end, file=sys.stderr, flush=True)

    return report
