"""Images per second of the toybox's trainings, and what bounds them.

    python benchmarks/toybox_training.py --device cuda
    python benchmarks/toybox_training.py prior --tiny --threads 1

Each model is trained for some steps by the settings of toybox/params.yaml, on the path that
`dvc --cd toybox repro` takes, with random weights; nothing is kept. Beside the steps are timed the
renders of a shelf, the encoding of one (latents), and the drawing of a batch. A shelf serves
`steps_per_shelf` steps, so that an image costs its share of the shelf and of a step. What takes
most of it is the bound. The first steps, which compile, do not count.

`--tiny` makes everything small: this only shows that the script runs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from dreamfusion_kit import provenance
from dreamfusion_kit.seeding import generator
from dreamfusion_kit.stages import devices
from dreamfusion_kit.stages.toybox_layout import WEIGHTS, settings
from dreamfusion_kit.toybox.latent_model import make_latent
from dreamfusion_kit.toybox.latent_settings import ShelfSection
from dreamfusion_kit.toybox.latent_shelf import encode_shelf
from dreamfusion_kit.toybox.settings import ToyboxSettings
from dreamfusion_kit.toybox.shelf import render_shelf
from dreamfusion_kit.toybox.train_denoiser import train_denoiser
from dreamfusion_kit.toybox.train_prior import train_prior
from dreamfusion_kit.toybox.train_vae import train_vae
from dreamfusion_kit.toybox.vae_model import make_vae

ROOT = Path(__file__).parents[1]
MODELS = ("prior", "vae", "latent")
WARM_UP_STEPS = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What one training takes, in seconds, and what that makes of an image."""

    model: str
    batch_size: int
    num_steps: int
    steps_per_shelf: int
    renders_per_s: float
    shelf_s: float
    batch_s: float
    step_s: float
    peak_bytes: int | None

    @property
    def seconds(self) -> dict[str, float]:
        """Return what a step takes, by what takes it."""
        return {
            "renders": self.shelf_s / self.steps_per_shelf,
            "batches": self.batch_s,
            "the network": self.step_s - self.batch_s,
        }

    @property
    def images_per_s(self) -> float:
        """Return the rate of a whole training, its shelves included."""
        return self.batch_size / sum(self.seconds.values())

    @property
    def bound(self) -> str:
        """Return what takes most of a step."""
        return max(self.seconds, key=lambda name: self.seconds[name])


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the trainings, print a table, and write the numbers if a file is given."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    device = devices.pick(options.device)
    sections = settings(ROOT)
    if options.tiny:
        sections = tiny(sections)
    results = [measure(name, sections, options.steps, device) for name in options.models or MODELS]
    print("| model | images/s | bound by | renders/s | ms per step | minutes in all |")
    print("|---|---:|---|---:|---:|---:|")
    for result in results:
        minutes = result.num_steps * result.batch_size / result.images_per_s / 60
        print(
            f"| {result.model} | {result.images_per_s:.0f} | {result.bound} | "
            f"{result.renders_per_s:.0f} | {1e3 * result.step_s:.1f} | {minutes:.1f} |"
        )
    if options.json is not None:
        record = {
            "machine": provenance.machine(device),
            "packages": provenance.package_versions(),
            "results": [
                asdict(result) | {"images_per_s": result.images_per_s, "bound": result.bound}
                for result in results
            ],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"Of {', '.join(MODELS)}; all by default."
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N.")
    parser.add_argument("--steps", type=int, default=40, help="Steps that are timed.")
    parser.add_argument("--threads", type=int, default=8, help="Torch's threads.")
    parser.add_argument("--tiny", action="store_true", help="Small models, to try the script.")
    parser.add_argument("--json", type=Path, help="Write the numbers here.")
    options = parser.parse_args(arguments)
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"found {min(unknown)}, expected {', '.join(MODELS)}")
    if options.steps < 1:
        parser.error(f"found --steps {options.steps}, expected 1 or more")
    return options


def measure(name: str, sections: ToyboxSettings, steps: int, device: torch.device) -> Result:
    """Time one training."""
    section: Any = getattr(sections, name)
    renders = sections.prior_shelf if name == "prior" else sections.shelf
    data = _data_seconds(name, sections, renders, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step_s = _step_seconds(name, sections, renders, steps, device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Result(
        model=name,
        batch_size=section.batch_size,
        num_steps=section.num_steps,
        steps_per_shelf=section.steps_per_shelf,
        renders_per_s=renders.shelf_size / data.renders,
        shelf_s=data.shelf,
        batch_s=data.batch,
        step_s=step_s,
        peak_bytes=peak,
    )


class _Data(NamedTuple):
    """Seconds for the renders of a shelf, for all of a shelf, and for a batch of it."""

    renders: float
    shelf: float
    batch: float


def _data_seconds(
    name: str, sections: ToyboxSettings, renders: ShelfSection, device: torch.device
) -> _Data:
    """Time what a training reads. Its tensors are freed before the training's peak is taken."""
    section: Any = getattr(sections, name)
    render_s, shelf = timed(lambda: render_shelf(renders, 0, device=device), device)
    if name == "latent":
        vae: Any = make_vae(sections.vae, renders.camera.largest_image_size_px).eval()
        vae.to(device)
        shelf_s, _ = timed(lambda: encode_shelf(vae, section, renders, 0, device=device), device)
        return _Data(render_s, shelf_s, 0.0)  # a batch of latents is rows of the shelf
    draw = generator(0, "benchmark", device=device)
    chosen = torch.arange(section.batch_size, device=device) % len(shelf)
    batch_s, _ = timed(lambda: shelf.images(chosen, section.background, generator=draw), device)
    return _Data(render_s, render_s, batch_s)


def timed(call: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Return what the second call takes, and gives."""
    call()
    _wait(device)
    start = time.perf_counter()
    given = call()
    _wait(device)
    return time.perf_counter() - start, given


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _step_seconds(
    name: str, sections: ToyboxSettings, renders: ShelfSection, steps: int, device: torch.device
) -> float:
    """Return the mean time between the reports of a training that stays on its first shelf."""
    count = WARM_UP_STEPS + steps
    section: Any = getattr(sections, name).model_copy(
        update={
            "num_steps": count,
            "steps_per_shelf": count,
            "checkpoint_every_steps": 10 * count,
            "sample_every_steps": 10 * count,
        }
    )
    times: list[float] = []

    def report(step: int, loss: float) -> None:  # the loss has been read: the step is done
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch)
        match name:
            case "prior":
                train_prior(section, renders, path, device=device, report=report)
            case "vae":
                train_vae(section, renders, path, device=device, report=report)
            case _:
                vae = make_vae(sections.vae, renders.camera.largest_image_size_px).eval()
                model = make_latent(section, vae, ROOT / WEIGHTS / "prior")
                train_denoiser(model, section, renders, path, device=device, report=report)
    return (times[-1] - times[WARM_UP_STEPS - 1]) / steps


def tiny(sections: ToyboxSettings) -> ToyboxSettings:
    """Return the settings with a few small images and networks."""
    changes: dict[str, Any] = {}
    for name in ("prior_shelf", "shelf"):
        shelf: ShelfSection = getattr(sections, name)
        camera = shelf.camera.model_copy(update={"image_size_px": 16})
        changes[name] = shelf.model_copy(update={"shelf_size": 16, "camera": camera})
    small = {"batch_size": 4, "block_out_channels": (16, 16)}
    attends = {"attention_levels": (1,)}
    changes["prior"] = sections.prior.model_copy(update=small | attends)
    changes["vae"] = sections.vae.model_copy(update=small)
    changes["latent"] = sections.latent.model_copy(update=small | attends)
    return sections.model_copy(update=changes)


if __name__ == "__main__":
    sys.exit(main())
