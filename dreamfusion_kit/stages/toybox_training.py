"""What the stages that train the toybox's models share: their scratch folder and their progress."""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.identity.code import code_digests
from dreamfusion_kit.identity.kit_file import MEMORY
from dreamfusion_kit.identity.stage_name import ToyboxTraining
from dreamfusion_kit.optimize import lock
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.stages.scratch import write_note
from dreamfusion_kit.toybox.training_settings import TrainingSection

_REPORT_EVERY_STEPS = 25
_CHANGES_NO_RESULT = {"checkpoint_every_steps", "sample_every_steps"}


@contextmanager
def checkpoints(
    workspace: Path,
    code: ToyboxTraining,
    section: TrainingSection,
    device: torch.device,
    others: Sequence[Section] = (),
    *,
    reads: Sequence[Path] = (),
) -> Generator[Path, None, None]:
    """Hold the folder of a training's checkpoints, one per whatever decides its bytes.

    That is its code, its settings, the files that it reads, and the machine, as for an
    optimisation. So a training that is run again resumes what a kill stopped, and nothing else:
    whatever else was trained before, the weights are the same.

    Args:
        others: Settings beside the training's own that decide its result.
        reads: Files, or folders of them, that decide it.
    """
    own = section.model_dump(mode="json", exclude=_CHANGES_NO_RESULT)
    beside = [other.model_dump(mode="json") for other in others]
    hashes = [files.sha256(file) for path in reads for file in _files(path)]
    inputs = {
        "code": code_digests(workspace / MEMORY)[code],
        "settings": identity([own, beside]),
        "files": identity(hashes),
    }
    key = run_key(inputs, device)
    name = code.removeprefix("toybox_train_").replace("_", "")  # as the command calls it
    scratch = workspace / ".work" / f"toybox-{name}-{key[:16]}"
    scratch.mkdir(parents=True, exist_ok=True)
    with lock.hold(scratch / "lock"):
        write_note(scratch, suite="toybox", asset=name, stage=f"train-{name}")
        yield scratch


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


class Losses:
    """Prints the mean loss, images per second and the time left from time to time."""

    def __init__(self, name: str, section: TrainingSection) -> None:
        """Start the clock; `name` begins each line."""
        self._name, self._section = name, section
        self._started = time.monotonic()
        self._losses: list[float] = []
        self._done = 0

    def __call__(self, step: int, loss: float) -> None:
        """Take a step's loss."""
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
