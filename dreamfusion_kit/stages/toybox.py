"""The toybox's own pipeline: render the data, train the prior and its judges."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.optimize import lock
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.stages.scratch import write_note
from dreamfusion_kit.stages.toybox_layout import DATASETS, WEIGHTS, settings
from dreamfusion_kit.toybox.dataset import load_dataset, merged, render_dataset, save_dataset
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.train_clip import train_clip
from dreamfusion_kit.toybox.train_multi_view import train_multi_view
from dreamfusion_kit.toybox.train_prior import train_prior
from dreamfusion_kit.toybox.train_view import train_view
from dreamfusion_kit.toybox.training_settings import TrainingSection

_PROLONGABLE = {"num_steps", "decay_steps"}  # nothing before the rate's decay depends on them
_REPORT_EVERY_STEPS = 25


def render_data(workspace: Path) -> None:
    """Render both data sets."""
    sections = settings(workspace)
    for name, section in (("dataset", sections.dataset), ("clip_dataset", sections.clip_dataset)):
        dataset = render_dataset(section, report=_counter(name))
        save_dataset(dataset, workspace / DATASETS[name])


def run_train_prior(workspace: Path, device: torch.device, workers: int = 0) -> Path:
    """Train the prior, or resume its training; write its diffusers directory.

    Batches are drawn by `workers` other processes, or by this one (0).

    If `prior.initial` names the directory written here, the next call is another
    training run.
    """
    section = settings(workspace).prior
    dataset = load_dataset(workspace / DATASETS["dataset"])
    initial = None if section.initial is None else workspace / section.initial
    with _scratch(workspace, "prior", section, initial) as scratch:
        model = train_prior(
            section,
            dataset,
            scratch,
            device=device,
            initial=initial,
            workers=workers,
            report=_Losses("prior", section.num_steps),
        )
    model.cpu().save_pretrained(workspace / WEIGHTS / "prior")
    return WEIGHTS / "prior"


def run_train_clip(workspace: Path, device: torch.device) -> Path:
    """Train the CLIP, or resume its training; write its transformers directory."""
    section = settings(workspace).clip
    dataset = load_dataset(workspace / DATASETS["clip_dataset"])
    report = _Losses("clip", section.num_steps)
    with _scratch(workspace, "clip", section) as scratch:
        model = train_clip(section, dataset, scratch, device=device, report=report)
    model.cpu().save_pretrained(workspace / WEIGHTS / "clip")
    return WEIGHTS / "clip"


def run_train_view(workspace: Path, device: torch.device) -> Path:
    """Train the view classifier, or resume; write its weights and what they mean."""
    section = settings(workspace).view
    dataset = merged([load_dataset(workspace / path) for path in DATASETS.values()])
    report = _Losses("view", section.num_steps)
    with _scratch(workspace, "view", section) as scratch:
        model = train_view(section, dataset, scratch, device=device, report=report)
    model.cpu().save(workspace / WEIGHTS / "view")
    return WEIGHTS / "view"


def run_train_multi_view(workspace: Path, device: torch.device) -> Path:
    """Fine-tune the multi-view prior, or resume; write what differs from the pixel prior."""
    sections = settings(workspace)
    section = sections.multi_view
    initial = workspace / section.initial
    size = section.camera.largest_image_size_px
    model = ToyboxMultiView(sections.prior, initial, size, section.num_views)
    report = _Losses("multi-view", section.num_steps)
    with _scratch(workspace, "multi-view", section, initial) as scratch:
        train_multi_view(model, section, scratch, device=device, report=report)
    model.cpu().save(workspace / WEIGHTS / "multiview")
    return WEIGHTS / "multiview"


@contextmanager
def _scratch(
    workspace: Path, name: str, section: TrainingSection, initial: Path | None = None
) -> Generator[Path, None, None]:
    """Hold the folder of a training's checkpoints: one per settings and initial weights."""
    way = section.model_dump(mode="json", exclude=_PROLONGABLE)
    start = [] if initial is None else sorted(initial.rglob("*.safetensors"))
    key = identity([way, [files.sha256(path) for path in start]])
    scratch = workspace / ".work" / f"toybox-{name}-{key[:16]}"
    scratch.mkdir(parents=True, exist_ok=True)
    with lock.hold(scratch / "lock"):
        write_note(scratch, suite="toybox", asset=name, stage=f"train-{name}")
        yield scratch


def _counter(name: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"\r{name}: {done}/{total} pairs", end="", file=sys.stderr, flush=True)
        if done == total:
            print(file=sys.stderr)

    return report


class _Losses:
    """Prints the mean loss and the time left from time to time."""

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
