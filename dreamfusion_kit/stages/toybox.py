"""The toybox's own pipeline: render the data, train the prior and the CLIP, measure both."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.r_precision import (
    CaptionPool,
    cosine_similarity,
    object_hits,
    retrieval_hits,
)
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.recipe import load
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.evaluation import Evaluation
from dreamfusion_kit.recipe.suite import DEFAULT, load_suite
from dreamfusion_kit.toybox.captions import HELD_OUT, caption_pool, parse
from dreamfusion_kit.toybox.dataset import load_dataset, render_dataset, save_dataset
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.settings import ToyboxSettings, TrainingSettings
from dreamfusion_kit.toybox.shapes import scene
from dreamfusion_kit.toybox.train_clip import train_clip
from dreamfusion_kit.toybox.train_prior import train_prior

PARAMS = Path("toybox/params.yaml")
DATASETS = {name: Path(f"toybox/data/{name}.safetensors") for name in ("dataset", "clip_dataset")}
WEIGHTS = Path("dreamfusion_kit/toybox/weights")
METRICS = Path("metrics/toybox-models.json")

_PROLONGABLE = {"num_steps", "decay_steps"}  # nothing before the rate's fall depends on them
_REPORT_EVERY_STEPS = 25
_GUIDANCE_SCALES = (1.0, 3.0, 7.5)
_SAMPLER_STEPS = 25
_SAMPLE_BATCH = 16


def settings(workspace: Path) -> ToyboxSettings:
    """Read toybox/params.yaml."""
    return load.validate(load.load_yaml(workspace / PARAMS), ToyboxSettings)


def render_data(workspace: Path) -> None:
    """Render both data sets."""
    sections = settings(workspace)
    for name, section in (("dataset", sections.dataset), ("clip_dataset", sections.clip_dataset)):
        dataset = render_dataset(section, report=_counter(name))
        save_dataset(dataset, workspace / DATASETS[name])


def run_train_prior(workspace: Path, device: torch.device) -> Path:
    """Train the prior, or go on with it; write its diffusers directory."""
    section = settings(workspace).prior
    dataset = load_dataset(workspace / DATASETS["dataset"])
    scratch = _scratch(workspace, "prior", section)
    model = train_prior(
        section, dataset, scratch, device=device, report=_Losses("prior", section.num_steps)
    )
    model.cpu().save_pretrained(workspace / WEIGHTS / "prior")
    return WEIGHTS / "prior"


def run_train_clip(workspace: Path, device: torch.device) -> Path:
    """Train the CLIP, or go on with it; write its transformers directory."""
    section = settings(workspace).clip
    dataset = load_dataset(workspace / DATASETS["clip_dataset"])
    scratch = _scratch(workspace, "clip", section)
    model = train_clip(
        section, dataset, scratch, device=device, report=_Losses("clip", section.num_steps)
    )
    model.cpu().save_pretrained(workspace / WEIGHTS / "clip")
    return WEIGHTS / "clip"


def evaluate(workspace: Path) -> Path:
    """Measure the CLIP on true renders and the prior's samples by the CLIP; write the metrics."""
    protocol = load_suite(workspace, DEFAULT).evaluation
    clip = load_clip(workspace / WEIGHTS / "clip", device=torch.device("cpu"))
    captions = clip.text_features(list(caption_pool()))
    sections = settings(workspace)
    prior = ToyboxPrior(sections.prior, sections.dataset.camera.image_size_px)
    prior.load_pretrained(workspace / WEIGHTS / "prior")
    metrics = {
        "clip": _ceiling(clip, captions, protocol),
        "prior": {
            f"guidance_scale_{scale:g}": _sample_accuracy(prior, clip, captions, scale)
            for scale in _GUIDANCE_SCALES
        },
        "caption_pool": CaptionPool(caption_pool()).sha256,
    }
    path = workspace / METRICS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    return METRICS


def _ceiling(
    clip: Clip, captions: Float[Tensor, "captions features"], protocol: Evaluation
) -> dict[str, float]:
    """Retrieve from true renders of every pair on the protocol's orbit.

    Colour views must find their own caption; textureless ones the right object.
    """
    color_hits: list[Tensor] = []
    object_found: list[Tensor] = []
    for own, (color, name) in enumerate(_pairs()):
        solid = scene(name, color)
        for textureless in (False, True):
            images = render_images(
                lambda *inputs, solid=solid: render_scene(solid, *inputs)[0],
                protocol.views,
                textureless=textureless,
                supersampling=1,
            )
            similarity = cosine_similarity(clip.image_features(images), captions)
            if textureless:
                object_found.append(object_hits(similarity, _same_object(name)))
            else:
                own_index = torch.full((len(similarity),), own)
                color_hits.append(retrieval_hits(similarity, own_index))
    return {
        **_by_kind("color", torch.stack(color_hits)),
        **_by_kind("textureless_object", torch.stack(object_found)),
    }


def _sample_accuracy(
    prior: ToyboxPrior,
    clip: Clip,
    captions: Float[Tensor, "captions features"],
    guidance_scale: float,
) -> dict[str, float]:
    """Retrieve from one sample of the prior per caption."""
    pool = caption_pool()
    hits: list[Tensor] = []
    for start in range(0, len(pool), _SAMPLE_BATCH):
        prompts = pool[start : start + _SAMPLE_BATCH]
        images = prior.sample(
            prompts, guidance_scale=guidance_scale, num_steps=_SAMPLER_STEPS, seed=start
        )
        similarity = cosine_similarity(clip.image_features(images), captions)
        hits.append(retrieval_hits(similarity, torch.arange(start, start + len(prompts))))
    return _by_kind("color", torch.cat(hits)[:, None])


def _pairs() -> list[tuple[str, str]]:
    return [pair for text in caption_pool() if (pair := parse(text)) is not None]


def _same_object(name: str) -> Bool[Tensor, " captions"]:
    return torch.tensor([pair[1] == name for pair in _pairs()])


def _by_kind(name: str, hits: Bool[Tensor, "captions views"]) -> dict[str, float]:
    """Return the mean over all pairs, and over the trained and the held-out ones apart."""
    held_out = torch.tensor([pair in HELD_OUT for pair in _pairs()])
    means = {"": hits, "_trained": hits[~held_out], "_held_out": hits[held_out]}
    return {name + suffix: round(float(part.double().mean()), 4) for suffix, part in means.items()}


def _scratch(workspace: Path, name: str, section: TrainingSettings) -> Path:
    """Return where a training keeps its checkpoints: one place per way of training."""
    key = identity(section.model_dump(mode="json", exclude=_PROLONGABLE))
    return workspace / ".work" / f"toybox-{name}-{key[:16]}"


def _counter(name: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"\r{name}: {done}/{total} pairs", end="", file=sys.stderr, flush=True)
        if done == total:
            print(file=sys.stderr)

    return report


class _Losses:
    """Prints the mean loss and the time left now and then."""

    def __init__(self, name: str, num_steps: int) -> None:
        self._name, self._num_steps = name, num_steps
        self._started = time.monotonic()
        self._losses: list[float] = []
        self._done = 0

    def __call__(self, step: int, loss: float) -> None:
        self._losses.append(loss)
        self._done += 1
        if (step + 1) % _REPORT_EVERY_STEPS == 0:
            mean = sum(self._losses) / len(self._losses)
            rate = (time.monotonic() - self._started) / self._done
            minutes = rate * (self._num_steps - step - 1) / 60
            print(
                f"{self._name}: step {step + 1}/{self._num_steps}  loss {mean:.4f}  "
                f"{rate:.2f} s/step  {minutes:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
            self._losses.clear()
