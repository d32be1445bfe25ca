"""Several optimisations of one model, each from where the one before it ended.

Each phase is a run of the loop in a scratch of its own, so that a killed phase resumes as any run
does, and a finished one is read from its last checkpoint without its prior. Steps are counted over
all phases where people see them: in curves, previews and digests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize import state
from dreamfusion_kit.optimize.checkpoint import Scratch, load_checkpoint
from dreamfusion_kit.optimize.loop import Run, run
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.monitor import Monitor
from dreamfusion_kit.optimize.trainee import Method, Trainee
from dreamfusion_kit.priors.base import Prior, Teacher
from dreamfusion_kit.priors.text import TextFeatures


@dataclass(frozen=True)
class Guide:
    """What a phase is guided by: see `loop.run`."""

    prior: Teacher
    phi: Prior | None
    text: TextFeatures
    prompts: Mapping[str, str]


@dataclass(frozen=True)
class Phase:
    """One optimisation of several.

    `trainee` and `guide` are called when the phase begins, and the second only if it has steps to
    do: models that only one phase needs are in memory no longer than that.
    """

    name: str
    method: Method
    trainee: Callable[[], Trainee]
    guide: Callable[[], Guide]

    @property
    def num_steps(self) -> int:
        """Return the steps of this phase."""
        return self.method.optimize.num_steps


def run_phases(
    phases: Sequence[Phase], *, seed: int, scratch: Scratch, device: torch.device, monitor: Monitor
) -> Run:
    """Run the phases in turn, or resume the one that was stopped; see `loop.run`."""
    onward = _Onward(monitor, sum(phase.num_steps for phase in phases))
    done: list[Run] = []
    for index, phase in enumerate(phases):
        own = _scratch_of(scratch, index)
        trainee = phase.trainee()
        finished = _finished(phase, trainee, own)
        if finished is None:
            if len(phases) > 1:
                onward.note(f"phase {index + 1} of {len(phases)}: {phase.name}")
            finished = _run(phase, trainee, seed, own, device, onward)
        done.append(finished)
        onward.history += finished.history
    onward.close()
    digests = torch.cat([one.digests for one in done])
    return Run(onward.history, sum(one.seconds for one in done), digests)


def previews(scratch: Scratch, phases: Iterable[Phase]) -> dict[str, Path]:
    """Return the phases' previews by file name, with their steps counted over all phases."""
    found: dict[str, Path] = {}
    before = 0
    for index, phase in enumerate(phases):
        for path in sorted(_scratch_of(scratch, index).previews.iterdir()):
            step = before + int(path.stem.removeprefix("step_"))
            found[f"step_{step:06d}{path.suffix}"] = path
        before += phase.num_steps
    return found


def _run(
    phase: Phase,
    trainee: Trainee,
    seed: int,
    scratch: Scratch,
    device: torch.device,
    monitor: Monitor,
) -> Run:
    guide = phase.guide()
    try:
        return run(
            trainee,
            phase.method,
            seed=seed,
            prior=guide.prior,
            phi=guide.phi,
            text=guide.text,
            prompts=guide.prompts,
            scratch=scratch,
            device=device,
            monitor=monitor,
        )
    except NumericsError as error:
        raise NumericsError(f"{phase.method.place.removesuffix('.')}: {error}") from error


def _scratch_of(scratch: Scratch, index: int) -> Scratch:
    own = Scratch(scratch.directory / f"phase_{index + 1}", scratch.key)
    for directory in (own.checkpoints, own.previews):
        directory.mkdir(parents=True, exist_ok=True)
    return own


def _finished(phase: Phase, trainee: Trainee, scratch: Scratch) -> Run | None:
    """Restore a phase that is done, and return what it left; None if it has steps to do."""
    checkpoint, _ = load_checkpoint(scratch)
    if checkpoint is None or checkpoint.step < phase.num_steps:
        return None
    history, digests = state.restore_trainee(trainee, checkpoint.tensors)
    trainee.set_step(phase.num_steps)
    return Run(history, checkpoint.seconds, digests)


@final
class _Onward:
    """A monitor of one run after another, which tells another monitor of a single long one."""

    def __init__(self, monitor: Monitor, num_steps: int) -> None:
        self._monitor = monitor
        self._num_steps = num_steps
        self._started = False
        self.history: list[StepMetrics] = []  # of the phases that are done

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        if not self._started:
            self._monitor.start([*self.history, *history], self._num_steps)
        self._started = True

    def step(self, step: int, metrics: StepMetrics) -> None:
        self._monitor.step(len(self.history) + step, metrics)

    def note(self, message: str) -> None:
        self._monitor.note(message)

    def finish(self) -> None:
        """Wait for the last phase."""

    def close(self) -> None:
        """Tell that all phases are done."""
        self.start([], self._num_steps)
        self._monitor.finish()
