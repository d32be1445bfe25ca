"""The progress of a suite's run: a table on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dreamfusion_kit.suites.worker import Failed, Finished, Message, Progress, StageDone, Started


@dataclass
class _Row:
    """The state of a running asset."""

    stage: str = ""
    steps: str = ""
    started: float = field(default_factory=time.monotonic)
    first_step: int | None = None
    left: str = ""


class ProgressTable:
    """One row per running asset: its stage, its step and the time left."""

    def __init__(self, num_assets: int, *, stream_is_terminal: bool | None = None) -> None:
        """Show the making of `num_assets` assets; look at stderr unless told."""
        terminal = sys.stderr.isatty() if stream_is_terminal is None else stream_is_terminal
        self._num_assets, self._num_done, self._num_failed = num_assets, 0, 0
        self._rows: dict[str, _Row] = {}
        self._failed: set[str] = set()
        console = Console(stderr=True, force_terminal=terminal, highlight=False)
        self._live = Live(console=console, refresh_per_second=2) if terminal else None

    def __enter__(self) -> "ProgressTable":
        """Show the table."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on screen."""
        if self._live is not None:
            self._live.stop()

    def tell(self, message: Message) -> None:
        """Take note of a worker's message."""
        row = self._rows.setdefault(message.asset, _Row())
        match message:
            case Started():
                row.stage, row.steps, row.left = message.stage, "", ""
                self._line(f"{message.asset}: {message.stage}")
            case Progress():
                self._count_steps(row, message)
            case StageDone():
                row.steps, row.left = "done", ""
            case Failed():
                self._failed.add(message.asset)
                first = message.message.splitlines()[0] if message.message else "failed"
                self._line(f"{message.asset}: {message.stage} failed: {first}")
            case Finished():
                self._rows.pop(message.asset, None)
                self._num_done += 1
                state = "failed" if message.asset in self._failed else "made"
                self._line(f"{message.asset}: {state} ({self._num_done}/{self._num_assets})")
        if self._live is not None:
            self._live.update(self._table())

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._live is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._live.console.print(text, markup=False)

    def _count_steps(self, row: _Row, progress: Progress) -> None:
        if row.first_step is None or progress.done < row.first_step:
            row.first_step, row.started = progress.done, time.monotonic()
        here = progress.done - row.first_step
        row.steps = f"{progress.done}/{progress.total}"
        if here > 0:
            seconds = (time.monotonic() - row.started) / here * (progress.total - progress.done)
            minutes, rest = divmod(round(seconds), 60)
            row.left = f"{minutes}:{rest:02d}"

    def _line(self, text: str) -> None:
        if self._live is None:
            self.say(text)

    def _table(self) -> Table:
        done = f"{self._num_done} of {self._num_assets} done"
        title = f"{done}, {len(self._failed)} failed" if self._failed else done
        table = Table("asset", "stage", "step", "left", title=title, box=None)
        for asset, row in self._rows.items():
            table.add_row(asset, row.stage, row.steps, row.left)
        return table
