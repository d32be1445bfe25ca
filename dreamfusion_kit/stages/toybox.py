"""The toybox's own pipeline: render the data, train the prior and its judges."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.optimize import lock
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.stages.scratch import write_note
from dreamfusion_kit.stages.toybox_layout import DATASETS, VAE, WEIGHTS, settings
from dreamfusion_kit.toybox.dataset import load_dataset, merged, render_dataset, save_dataset
from dreamfusion_kit.toybox.denoiser import Denoiser
from dreamfusion_kit.toybox.flow_model import ToyboxFlow
from dreamfusion_kit.toybox.latent_model import load_latent, make_latent
from dreamfusion_kit.toybox.latent_settings import DenoiserTrainingSection
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_sheet import multi_view_sheet
from dreamfusion_kit.toybox.train_clip import train_clip
from dreamfusion_kit.toybox.train_denoiser import train_denoiser
from dreamfusion_kit.toybox.train_multi_view import train_multi_view
from dreamfusion_kit.toybox.train_prior import train_prior
from dreamfusion_kit.toybox.train_vae import reconstruction_psnr, train_vae
from dreamfusion_kit.toybox.train_view import train_view
from dreamfusion_kit.toybox.training_settings import TrainingSection
from dreamfusion_kit.toybox.vae_model import load_vae, save_vae

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
    with _scratch(
        workspace, "prior", section, reads=[] if initial is None else [initial]
    ) as scratch:
        model = train_prior(
            section,
            dataset,
            scratch,
            device=device,
            initial=initial,
            workers=workers,
            report=_Losses("prior", section),
        )
    model.cpu().save_pretrained(workspace / WEIGHTS / "prior")
    return WEIGHTS / "prior"


def run_train_clip(workspace: Path, device: torch.device) -> Path:
    """Train the CLIP, or resume its training; write its transformers directory."""
    section = settings(workspace).clip
    dataset = load_dataset(workspace / DATASETS["clip_dataset"])
    report = _Losses("clip", section)
    with _scratch(workspace, "clip", section) as scratch:
        model = train_clip(section, dataset, scratch, device=device, report=report)
    model.cpu().save_pretrained(workspace / WEIGHTS / "clip")
    return WEIGHTS / "clip"


def run_train_view(workspace: Path, device: torch.device) -> Path:
    """Train the view classifier, or resume; write its weights and what they mean."""
    section = settings(workspace).view
    dataset = merged([load_dataset(workspace / path) for path in DATASETS.values()])
    report = _Losses("view", section)
    with _scratch(workspace, "view", section) as scratch:
        model = train_view(section, dataset, scratch, device=device, report=report)
    model.cpu().save(workspace / WEIGHTS / "view")
    return WEIGHTS / "view"


def run_train_multi_view(workspace: Path, device: torch.device) -> Path:
    """Fine-tune the multi-view prior, or resume; write what differs from the latent prior."""
    section = settings(workspace).multi_view
    initial = workspace / section.initial
    model = ToyboxMultiView(load_latent(initial), section.num_views)
    report = _Losses("multi-view", section)
    with _scratch(workspace, "multi-view", section, reads=(initial,)) as scratch:
        train_multi_view(model, section, scratch, device=device, report=report)
        multi_view_sheet(model).save(scratch / "samples.png")
    model.save(workspace / WEIGHTS / "multiview")
    return WEIGHTS / "multiview"


def run_train_vae(workspace: Path, device: torch.device) -> Path:
    """Train the latent world's autoencoder, or resume; write it, and print its PSNR."""
    sections = settings(workspace)
    section = sections.vae
    report = _Losses("vae", section)
    with _scratch(workspace, "vae", section, [sections.shelf]) as scratch:
        vae = train_vae(section, sections.shelf, scratch, device=device, report=report)
    psnr = reconstruction_psnr(vae, section, sections.shelf)
    print(f"vae: {psnr:.2f} dB on fresh renders", file=sys.stderr)
    save_vae(vae, workspace / VAE)
    return VAE


def run_train_latent(workspace: Path, device: torch.device) -> Path:
    """Train the U-Net on latents, or resume; write its diffusers directory."""
    section = settings(workspace).latent
    vae = load_vae(workspace / VAE, device)
    model = make_latent(section, vae, workspace / section.text_from)
    return _train_on_latents(workspace, "latent", model, section, device)


def run_train_flow(workspace: Path, device: torch.device) -> Path:
    """Train the flow on latents, or resume; write its diffusers directory."""
    section = settings(workspace).flow
    vae = load_vae(workspace / VAE, device)
    model = ToyboxFlow(section, vae, workspace / section.text_from)
    return _train_on_latents(workspace, "flow", model, section, device)


def _train_on_latents(
    workspace: Path,
    name: str,
    model: Denoiser,
    section: DenoiserTrainingSection,
    device: torch.device,
) -> Path:
    renders = settings(workspace).shelf
    reads = (workspace / VAE, workspace / section.text_from / "text_encoder")
    with _scratch(workspace, name, section, [renders], reads=reads) as scratch:
        report = _Losses(name, section)
        train_denoiser(model, section, renders, scratch, device=device, report=report)
    model.save_pretrained(workspace / WEIGHTS / name)
    return WEIGHTS / name


@contextmanager
def _scratch(
    workspace: Path,
    name: str,
    section: TrainingSection,
    others: Sequence[Section] = (),
    *,
    reads: Sequence[Path] = (),
) -> Generator[Path, None, None]:
    """Hold the folder of a training's checkpoints: one per settings and weights that it reads."""
    way = section.model_dump(mode="json", exclude=_PROLONGABLE)
    hashes = [
        files.sha256(path) for folder in reads for path in sorted(folder.rglob("*.safetensors"))
    ]
    key = identity([way, hashes, *(other.model_dump(mode="json") for other in others)])
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
    """Prints the mean loss, images per second and the time left from time to time."""

    def __init__(self, name: str, section: TrainingSection) -> None:
        self._name, self._section = name, section
        self._started = time.monotonic()
        self._losses: list[float] = []
        self._done = 0

    def __call__(self, step: int, loss: float) -> None:
        self._losses.append(loss)
        self._done += 1
        if (step + 1) % _REPORT_EVERY_STEPS == 0:
            mean = sum(self._losses) / len(self._losses)
            rate = (time.monotonic() - self._started) / self._done
            minutes = rate * (self._section.num_steps - step - 1) / 60
            print(
                f"{self._name}: step {step + 1}/{self._section.num_steps}  loss {mean:.4f}  "
                f"{rate:.2f} s/step  {self._section.batch_size / rate:.0f} images/s  "
                f"{minutes:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
            self._losses.clear()
