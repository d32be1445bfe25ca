"""Measure the toybox's own models: the judges on true renders, the prior by the judges."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit import files
from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.frechet import frechet_distance
from dreamfusion_kit.evaluation.r_precision import CaptionPool, cosine_similarity, retrieval_hits
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.schema import ConstantBackgroundSection
from dreamfusion_kit.recipe.suite import DEFAULT, load_suite
from dreamfusion_kit.stages.toybox_layout import METRICS, WEIGHTS, settings
from dreamfusion_kit.toybox.captions import HELD_OUT, caption, caption_pool, plaster_caption
from dreamfusion_kit.toybox.fresh_renders import fresh_renders
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.sample_sheet import draw_sheet
from dreamfusion_kit.toybox.samples import (
    LEFT_RIGHT,
    SAMPLED_VIEWS,
    Prompt,
    Samples,
    prompt_batches,
    sample_prior,
)
from dreamfusion_kit.toybox.settings import ToyboxSettings
from dreamfusion_kit.toybox.shapes import COLORS, DISTINCT_SIDES, OBJECTS, scene
from dreamfusion_kit.toybox.view_model import ViewModel, load_view_model

GUIDANCE_SCALES = (1.0, 3.0, 7.5)
_EVERY_SIDE_AT = 3.0  # the scale whose views are measured most closely
_SAMPLER_STEPS = 8
ONE_SIDED = ("chair", "duck")  # their outline from the left is that from the right, mirrored
_RENDERS_PER_MEAN = 8
_GREY = ConstantBackgroundSection(kind="constant", color=(0.575, 0.575, 0.575))  # the prior's mean
_RENDERS_PER_PAIR = 9  # one in the set that stands in for samples, the rest in the reference
_DECIMALS = 4

Json = dict[str, Any]  # the values are what `json` writes
Pair = tuple[str, str]  # colour, object


@dataclass(frozen=True)
class Judges:
    """Both judges, and the features of the captions that the CLIP chooses from."""

    clip: Clip
    view: ViewModel
    captions: Float[Tensor, "captions features"]
    plaster: Float[Tensor, "prompts features"]


def run(workspace: Path, device: torch.device, *, sheet: Path) -> Path:
    """Write metrics/toybox-models.json, and the sheet of samples to `sheet`."""
    sections = settings(workspace)
    judges = _load_judges(workspace, device)
    protocol = load_suite(workspace, DEFAULT).evaluation
    ceiling = _ceiling(judges, protocol)
    reference, stand_in = _true_renders(sections)
    left_right = _mean_side_views(sections)
    by_scale = _sample(workspace, sections, device)
    metrics: Json = {
        "caption_pool": CaptionPool(caption_pool()).sha256,
        "clip": ceiling,
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
    (workspace / sheet).parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(by_scale).save(workspace / sheet)
    return METRICS


def _load_judges(workspace: Path, device: torch.device) -> Judges:
    clip = load_clip(workspace / WEIGHTS / "clip", device=device)
    return Judges(
        clip=clip,
        view=load_view_model(workspace / WEIGHTS / "view", device=device),
        captions=clip.text_features(list(caption_pool())),
        plaster=clip.text_features([plaster_caption(name) for name in OBJECTS]),
    )


# ---- images


def _sample(
    workspace: Path, sections: ToyboxSettings, device: torch.device
) -> dict[float, Samples]:
    prior = ToyboxPrior(sections.prior, sections.dataset.camera.image_size_px)
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


def _true_renders(sections: ToyboxSettings) -> tuple[Samples, Samples]:
    """Return the reference set, and a set that stands in for samples: one image per pair.

    Both show every pair from the side that the samples are asked for.
    """
    prompts = [
        prompt
        for batch in prompt_batches(every_side=False)
        for prompt in batch
        if prompt.is_in_turn
    ]
    report = _progress("true renders", len(prompts) * _RENDERS_PER_PAIR)
    renders: list[Tensor] = []
    for prompt in prompts:
        images = fresh_renders(
            sections.dataset,
            sections.prior.background,
            color=prompt.color,
            object_name=prompt.object_name,
            view=prompt.view,
            count=_RENDERS_PER_PAIR,
        )
        renders.append(images)
        report(len(images))
    stacked = torch.stack(renders)
    repeated = tuple(prompt for prompt in prompts for _ in range(_RENDERS_PER_PAIR - 1))
    reference = Samples(repeated, stacked[:, 1:].flatten(0, 1))
    return reference, Samples(tuple(prompts), stacked[:, 0])


def _mean_side_views(sections: ToyboxSettings) -> dict[Pair, Float[Tensor, "2 h w 3"]]:
    """Return the mean picture of each one-sided object in each colour from its left and right.

    They are all before the same grey: what differs between the two is the object alone.
    """
    pairs = [(color, name) for name in ONE_SIDED for color in COLORS]
    report = _progress("mean side views", len(pairs))

    def mean_view(pair: Pair, view: str) -> Float[Tensor, "h w 3"]:
        color, name = pair
        images = fresh_renders(
            sections.dataset,
            _GREY,
            color=color,
            object_name=name,
            view=view,
            count=_RENDERS_PER_MEAN,
        )
        return images.mean(dim=0)

    return {
        pair: torch.stack([mean_view(pair, view) for view in LEFT_RIGHT])
        for pair in _counted(pairs, report)
    }


# ---- measures


def measure_samples(judges: Judges, samples: Samples, reference: Samples) -> Json:
    """Measure images of the prompts: right caption, right side, right distribution."""
    in_turn = samples.where(lambda prompt: prompt.is_in_turn)
    features = judges.clip.image_features(in_turn.images)
    similarity = cosine_similarity(features, judges.captions)
    pool = caption_pool()
    own = [pool.index(caption(prompt.color, prompt.object_name)) for prompt in in_turn.prompts]
    hits = retrieval_hits(similarity, torch.tensor(own))
    return {
        **_by_kind("r_precision", hits, [_pair(prompt) for prompt in in_turn.prompts]),
        **view_accuracy(judges.view, samples),
        "frechet_distance": frechet_distance(
            features, judges.clip.image_features(reference.images)
        ),
    }


def view_accuracy(judge: ViewModel, samples: Samples) -> Json:
    """Return how often the side is the one asked for: in all, by side and by object."""
    distinct = samples.where(lambda prompt: prompt.object_name in DISTINCT_SIDES)
    hits = torch.tensor(
        [
            judge.views(image[None], prompt.object_name) == [prompt.view.split()[-1]]
            for image, prompt in zip(distinct.images, distinct.prompts, strict=True)
        ]
    )

    def share(choose: Callable[[Prompt], bool]) -> float:
        return _mean(hits[[choose(prompt) for prompt in distinct.prompts]])

    return {
        "view_accuracy": _mean(hits),
        **{
            f"view_accuracy_{view.replace(' ', '_')}": share(lambda p, view=view: p.view == view)
            for view in SAMPLED_VIEWS
        },
        "view_accuracy_by_object": {
            name: share(lambda prompt, name=name: prompt.object_name == name)
            for name in OBJECTS
            if name in DISTINCT_SIDES
        },
    }


def side_accuracy(means: Mapping[Pair, Float[Tensor, "2 h w 3"]], samples: Samples) -> Json:
    """Return how often a side view is nearer to the mean picture of its own side.

    The classifier does not tell left from right. The distance is that of pixels: it knows
    the objects whose outline points one way, and its accuracy on true renders says how well.
    """
    sides = samples.where(lambda p: p.object_name in ONE_SIDED and p.view in LEFT_RIGHT)
    hits = [
        int((means[_pair(prompt)] - image).square().sum(dim=(1, 2, 3)).argmin())
        == LEFT_RIGHT.index(prompt.view)
        for image, prompt in zip(sides.images, sides.prompts, strict=True)
    ]
    return {"side_accuracy": _mean(torch.tensor(hits))}


def _ceiling(judges: Judges, protocol: EvaluationSection) -> Json:
    """Retrieve from true renders on the protocol's orbit, as assets are asked to.

    Colour views of every pair must find their own of all captions; textureless views, which
    are the same in every colour, their object's of the plaster captions.
    """
    pairs = [(color, name) for name in OBJECTS for color in COLORS]
    report = _progress("protocol's views", len(pairs) + len(OBJECTS))
    color_hits = torch.stack(
        [
            _orbit_hits(judges.clip, judges.captions, own, pair, protocol, textureless=False)
            for own, pair in enumerate(_counted(pairs, report))
        ]
    )
    anything = next(iter(COLORS))
    object_hits = [
        _orbit_hits(judges.clip, judges.plaster, own, (anything, name), protocol, textureless=True)
        for own, name in enumerate(_counted(OBJECTS, report))
    ]
    return {
        **_by_kind("color", color_hits, pairs),
        "textureless_object": _mean(torch.stack(object_hits)),
        "textureless_by_object": dict(zip(OBJECTS, map(_mean, object_hits), strict=True)),
    }


def _orbit_hits(
    clip: Clip,
    captions: Float[Tensor, "captions features"],
    own: int,
    pair: Pair,
    protocol: EvaluationSection,
    *,
    textureless: bool,
) -> Bool[Tensor, " views"]:
    color, name = pair
    solid = scene(name, color)
    images = render_images(
        lambda *inputs: render_scene(solid, *inputs)[0],
        protocol.views,
        textureless=textureless,
        supersampling=1,
    )
    similarity = cosine_similarity(clip.image_features(images), captions)
    return retrieval_hits(similarity, torch.full((len(images),), own))


def _method(judges: Judges, by_scale: dict[float, Samples], reference: Samples) -> Json:
    """Say how the numbers came about: they hold for these counts and this sampler."""
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


def _pair(prompt: Prompt) -> Pair:
    return prompt.color, prompt.object_name


def _by_kind(name: str, hits: Bool[Tensor, "images *views"], pairs: list[Pair]) -> Json:
    """Return the mean over all pairs, and over the trained and the held-out ones apart."""
    held_out = torch.tensor([pair in HELD_OUT for pair in pairs])
    return {
        name: _mean(hits),
        f"{name}_trained": _mean(hits[~held_out]),
        f"{name}_held_out": _mean(hits[held_out]),
    }


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, _DECIMALS) if isinstance(value, float) else value


# ---- progress


def _counted(items: Sequence[Any], report: Callable[[int], None]) -> Iterable[Any]:
    for item in items:
        yield item
        report(1)


def _progress(name: str, total: int) -> Callable[[int], None]:
    """Return what shows how many images of how many are done, and for how long."""
    started, done = time.monotonic(), 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        seconds = time.monotonic() - started
        end = "\n" if done >= total else ""
        print(f"\r{name}: {done}/{total}  {seconds:.0f} s", end=end, file=sys.stderr, flush=True)

    return report
