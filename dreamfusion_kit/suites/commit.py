"""Records the outputs of a run, as long as what they were made from is what it started with."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.remote_crew import RemoteCrew


class Commit:
    """Records the outputs to which the digests from the start of the run still apply."""

    def __init__(self, workspace: Path, suite: Suite, crew: Crew | RemoteCrew, log: Path) -> None:
        """Remember the digests as they are now."""
        self._root, self._suite, self._log = suite_root(workspace, suite.name), suite, log
        self._crew = crew
        self._before = {path: _read(path) for path in self._kit_files(suite.assets)}

    def __call__(self, assets: Sequence[str], targets: Sequence[str]) -> None:
        """Record the outputs of `targets`, or raise SuiteError if a digest has changed."""
        for path in self._kit_files(assets):
            if _read(path) != self._before[path]:
                raise SuiteError(
                    f"{path}: changed while the suite was made, expected it to stay; outputs of "
                    "before were not recorded; run the suite again"
                )
        self._crew.record(assets, targets, self._log)

    def _kit_files(self, assets: Iterable[str]) -> Iterator[Path]:
        yield self._root / kit_file.KIT_FILE
        for asset in assets:
            folder = self._suite.declared[asset].folder
            if folder is not None:
                yield self._root / "assets" / folder / kit_file.KIT_FILE


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
