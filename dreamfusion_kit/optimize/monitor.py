"""Who watches an optimisation: the terminal, and DVCLive's metric files.

The loop tells a monitor what happened; a monitor never changes the run. What DVCLive
writes becomes part of a hashed output, so it holds steps and values, no clock.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Protocol, final, runtime_checkable

from dvclive.live import Live
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from dreamfusion_kit.optimize.metrics import StepMetrics


@runtime_checkable  # beartype checks it in the tests
class Monitor(Protocol):
    """What the loop tells of itself."""

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Take note of a run of `num_steps` that begins after the steps of `history`."""
        ...

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Take note of a finished step."""
        ...

    def note(self, message: str) -> None:
        """Take note of something a person should know."""
        ...

    def finish(self) -> None:
        """Take note that every step is done."""
        ...


@final
class Monitors:
    """Several monitors as one."""

    def __init__(self, *monitors: Monitor) -> None:
        """Tell each of `monitors`, in this order."""
        self._monitors = monitors

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Tell all."""
        for monitor in self._monitors:
            monitor.start(history, num_steps)

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Tell all."""
        for monitor in self._monitors:
            monitor.step(step, metrics)

    def note(self, message: str) -> None:
        """Tell all."""
        for monitor in self._monitors:
            monitor.note(message)

    def finish(self) -> None:
        """Tell all."""
        for monitor in self._monitors:
            monitor.finish()


@final
class LiveMonitor:
    """DVCLive's files of a run: `plots/metrics/<name>.tsv` (step, value) and `metrics.json`.

    They are derived from the history alone. A run that was killed has written rows past
    its last checkpoint, so a resumed one writes the files anew and each step stands in
    them once.
    """

    def __init__(self, directory: Path) -> None:
        """Write into `directory`, a part of the scratch and never of a stage's outputs."""
        self._directory = directory
        self._live: Live | None = None

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Write the rows of the steps done before."""
        shutil.rmtree(self._directory, ignore_errors=True)
        # By default DVCLive edits the workspace's dvc.yaml and saves an experiment.
        self._live = Live(str(self._directory), dvcyaml=None, save_dvc_exp=False)
        for step, metrics in enumerate(history):
            self.step(step, metrics)

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Write one row per metric."""
        if self._live is None:
            raise RuntimeError("start comes before step")
        self._live.step = step
        for name, value in asdict(metrics).items():
            self._live.log_metric(name, value)

    def note(self, message: str) -> None:
        """Leave messages to the terminal."""

    def finish(self) -> None:
        """Write the summary of the last step."""
        if self._live is not None:
            self._live.end()


@final
class ConsoleMonitor:
    """One line on stderr that moves; plain lines, twenty in a run, where it is no terminal.

    Use it as a context manager, so that the terminal is left in order on an error.
    """

    def __init__(self, name: str, *, stream_is_terminal: bool | None = None) -> None:
        """Name the run `name`; find out about stderr unless told what it is."""
        self._name = name
        terminal = sys.stderr.isatty() if stream_is_terminal is None else stream_is_terminal
        self._console = Console(stderr=True, force_terminal=terminal, highlight=False)
        self._progress = _progress(self._console) if terminal else None
        self._task = TaskID(0)
        self._clock = _Clock(0, 0)

    def __enter__(self) -> "ConsoleMonitor":
        """Show the line."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the line away from the cursor."""
        if self._progress is not None:
            self._progress.stop()

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Start the clock; steps done before count as done but not as time."""
        self._clock = _Clock(len(history), num_steps)
        if self._progress is not None:
            self._task = self._progress.add_task(
                self._name, total=num_steps, completed=len(history), numbers=""
            )
        if history:
            self.note(f"resuming at step {len(history)} of {num_steps}")

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Show the step's numbers."""
        done, total = step + 1, self._clock.num_steps
        if self._progress is not None:
            numbers = self._clock.describe(done, metrics)
            self._progress.update(self._task, completed=done, numbers=numbers)
        elif done % max(1, total // 20) == 0 or done == total:
            numbers = self._clock.describe(done, metrics)
            print(f"{self._name}: step {done}/{total}  {numbers}", file=sys.stderr, flush=True)

    def note(self, message: str) -> None:
        """Print a line of its own."""
        if self._progress is not None:
            self._console.print(f"{self._name}: {message}", markup=False)
        else:
            print(f"{self._name}: {message}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Leave the last numbers standing."""


class _Clock:
    """The time of the steps of this process."""

    def __init__(self, first_step: int, num_steps: int) -> None:
        self.num_steps = num_steps
        self._first_step = first_step
        self._started = time.monotonic()

    def describe(self, done: int, metrics: StepMetrics) -> str:
        seconds = (time.monotonic() - self._started) / max(1, done - self._first_step)
        minutes, rest = divmod(round(seconds * (self.num_steps - done)), 60)
        return (
            f"opacity {metrics.opacity:.3f}  gradient {metrics.gradient_norm:.2e}  "
            f"{seconds:.3f} s/step  {minutes}:{rest:02d} left"
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        console=console,
        refresh_per_second=4,
    )
