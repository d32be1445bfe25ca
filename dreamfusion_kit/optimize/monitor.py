"""What watches an optimisation: the terminal, and files of its curves.

The loop tells a monitor what happened; a monitor never changes the run. The curves become part
of a hashed output, so they hold steps and values but no times.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, final, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from dreamfusion_kit import files
from dreamfusion_kit.optimize.metrics import METRIC_NAMES, StepMetrics


@runtime_checkable  # beartype checks it in the tests
class Monitor(Protocol):
    """What the loop reports to."""

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Note the start of a run of `num_steps` that begins after the steps of `history`."""
        ...

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Note a finished step."""
        ...

    def note(self, message: str) -> None:
        """Note a message for the user."""
        ...

    def finish(self) -> None:
        """Note that all steps are done."""
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
class CurveMonitor:
    """The curves of a run: `plots/metrics/NAME.tsv` (step, value), and `metrics.json` at the end.

    A share has rows for the steps at which it was measured, and no file if it never was.

    They are derived from the history alone. A run that was killed has written rows past its last
    checkpoint, so a resumed one rewrites the files and each step appears once. DVC plots these
    files directly.
    """

    def __init__(self, directory: Path) -> None:
        """Write into `directory`, a part of the scratch and never of a stage's outputs."""
        self._directory = directory
        self._last: dict[str, float] = {}

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Write the rows of the steps already done."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._file("").parent.mkdir(parents=True)
        rows = {name: [_row("step", name)] for name in METRIC_NAMES}
        for step, metrics in enumerate(history):
            for name, value in (metrics.numbers | metrics.shares).items():
                rows.setdefault(name, [_row("step", name)]).append(_row(step, value))
        for name, lines in rows.items():
            self._file(name).write_text("".join(lines), encoding="utf-8")
        if history:
            self._last = _summary(len(history) - 1, history[-1])

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Append one row per metric."""
        for name, value in (metrics.numbers | metrics.shares).items():
            with self._file(name).open("a", encoding="utf-8") as file:
                file.write(
                    _row(step, value) if file.tell() else _row("step", name) + _row(step, value)
                )
        self._last = _summary(step, metrics)

    def note(self, message: str) -> None:
        """Leave messages to the terminal."""

    def finish(self) -> None:
        """Write the summary of the last step."""
        files.write_text(self._directory / "metrics.json", json.dumps(self._last, indent=4) + "\n")

    def _file(self, name: str) -> Path:
        return self._directory / "plots" / "metrics" / f"{name}.tsv"


def _row(*cells: object) -> str:
    return "\t".join(map(str, cells)) + "\n"


def _summary(step: int, metrics: StepMetrics) -> dict[str, float]:
    return {**metrics.numbers, "step": step}


@final
class ConsoleMonitor:
    """A live progress line on stderr; about twenty plain lines per run without a TTY.

    Use it as a context manager, so that the terminal is restored after an error.
    """

    def __init__(self, name: str, *, stream_is_terminal: bool | None = None) -> None:
        """Name the run `name`; detect whether stderr is a terminal unless told."""
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
        """End the line, and free the cursor."""
        if self._progress is not None:
            self._progress.stop()

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        """Start the clock; steps done earlier count as done, but not towards the time."""
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
        """Print the message on a line of its own."""
        if self._progress is not None:
            self._console.print(f"{self._name}: {message}", markup=False)
        else:
            print(f"{self._name}: {message}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Leave the last numbers on screen."""


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
