"""Commits finished stages to DVC while the workers continue with others.

`dvc commit` takes most of a second to start, whatever it commits. So everything that waits is
committed together, and the recorder keeps up with any number of workers.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.identity.stage_name import AssetStage

COMMIT_AFTER: tuple[AssetStage, ...] = ("optimize", "refine", "evaluate")  # the dear, and the last

Commit = Callable[[Sequence[str], Sequence[str]], None]  # of assets, by DVC's targets


class Recorder:
    """Commits stages in the order in which they finish.

    Use it as a context manager; on exit it waits until everything is committed. `failures`
    then holds the assets that could not be committed, with DVC's reason.
    """

    def __init__(self, commit: Commit) -> None:
        """Record with `commit`, which is called from a single thread."""
        self.failures: dict[str, str] = {}
        self._commit = commit
        self._waiting: dict[str, list[str]] = {}
        self._queue: queue.SimpleQueue[tuple[str, list[str]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> "Recorder":
        """Start committing."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what waits, even if the run was interrupted: that work is done."""
        for asset in list(self._waiting):
            self.flush(asset)
        self._queue.put(None)
        self._thread.join()

    def note(self, asset: str, stage: AssetStage, target: str) -> None:
        """Take note of a finished stage; commit if it was expensive or the last."""
        self._waiting.setdefault(asset, []).append(target)
        if stage in COMMIT_AFTER:
            self.flush(asset)

    def flush(self, asset: str) -> None:
        """Commit what waits for an asset."""
        targets = self._waiting.pop(asset, [])
        if targets:
            self._queue.put((asset, targets))

    def _run(self) -> None:
        ended = False
        while not ended:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            ended = None in items
            self._record([item for item in items if item is not None])

    def _record(self, items: list[tuple[str, list[str]]]) -> None:
        """Commit a batch; if that fails, commit asset by asset, to isolate the failure."""
        try:
            if items:
                assets = [asset for asset, _ in items]
                self._commit(assets, [target for _, targets in items for target in targets])
        except (DreamFusionKitError, OSError) as error:
            if len(items) == 1:
                self.failures[items[0][0]] = str(error)
                return
            for item in items:
                self._record([item])
