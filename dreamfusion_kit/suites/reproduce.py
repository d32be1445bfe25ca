"""Makes an asset again in a clone, and compares it with the existing one, file by file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit import files, provenance
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity.stage_name import asset_stages
from dreamfusion_kit.provenance import Provenance
from dreamfusion_kit.recipe.suite import FETCHED_CLIP, resolve
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites.plan import outputs
from dreamfusion_kit.supervision import STAGE_VARIABLE


@dataclass(frozen=True)
class StageResult:
    """A stage made again: how many files are equal, and the first that differs, if one does."""

    stage: str
    num_equal: int
    difference: str | None

    def __str__(self) -> str:
        """Return a line for a terminal."""
        if self.difference is None:
            return f"{self.stage}: equal ({self.num_equal} files)"
        return f"{self.stage}: {self.difference}"


def reproduce(workspace: Path, suite: str, asset: str, *, rev: str) -> Iterator[StageResult]:
    """Yield the result of one stage after the other, up to the first that differs.

    The stages run in a temporary clone of the workspace's Git repository at `rev`, with the
    clone's own code if it holds the kit, on the kind of device and with the number of threads
    in the asset's record.

    Raises:
        SuiteError: if the asset is not made, `rev` does not exist, or a stage fails.
        RecipeError: if there is no such asset.
    """
    resolved = resolve(workspace, suite, asset)
    recipe = resolved.recipe_name
    stages = asset_stages(refined=resolved.recipe.refine is not None)
    root = suite_root(workspace, suite)
    record = read_record(workspace, suite, asset)
    for stage in stages:
        for name in outputs(stage, asset):
            if not (root / name).exists():
                raise SuiteError(f"{root / name}: not there, expected an asset that is made")
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as folder:
        clone = _clone(workspace, rev, Path(folder) / "clone")
        again = suite_root(clone, suite)
        models = [f"out/model/{name}.json" for name in (recipe, FETCHED_CLIP)]
        for name in (recipe, FETCHED_CLIP):
            _run(clone, record, ["fetch", name, "--suite", suite])
        yield (result := _compare("fetch", root, again, models))
        for stage in stages:
            if result.difference is not None:
                return
            _run(clone, record, [stage, asset, "--suite", suite, "--device", _device(record)])
            yield (result := _compare(stage, root, again, outputs(stage, asset)))


def read_record(workspace: Path, suite: str, asset: str) -> Provenance:
    """Return what an asset's optimisation ran on."""
    path = suite_root(workspace, suite) / "out" / "run" / asset / "optimize.json"
    return files.read_json(path, Provenance, made_by="optimize")


def other_packages(record: Provenance) -> list[str]:
    """Return the packages whose versions differ from the record's, one per line."""
    here = {**provenance.package_versions(), "python": sys.version.split()[0]}
    there = {**record["packages"], "python": record["python"]}
    return [
        f"{name}: {here.get(name, 'none')} here, {there.get(name, 'none')} in the record"
        for name in sorted(here | there)
        if here.get(name) != there.get(name)
    ]


def _device(record: Provenance) -> str:
    return "cpu" if record["machine"]["device"] == "cpu" else "cuda"


def _clone(workspace: Path, rev: str, folder: Path) -> Path:
    """Clone the repository that holds the workspace; return the workspace in the clone."""
    top = Path(_git(workspace, "rev-parse", "--show-toplevel"))
    commit = _git(workspace, "rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}")
    _git(workspace, "clone", "--quiet", "--no-checkout", str(top), str(folder))
    _git(folder, "checkout", "--quiet", "--detach", commit)
    return folder / _git(workspace, "rev-parse", "--show-prefix")


def _git(workspace: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(workspace), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise SuiteError(f"git: {error.strerror}; expected Git to be installed") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SuiteError(
            f"git {arguments[0]}: failed ({reason}); expected a workspace that is committed, and "
            "a revision of it"
        )
    return done.stdout.strip()


def _run(clone: Path, record: Provenance, arguments: Sequence[str]) -> None:
    """Run a command of the kit in the clone."""
    own = ["cli.py"] if (clone / "cli.py").is_file() else ["-m", "dreamfusion_kit"]
    environment = {name: value for name, value in os.environ.items() if name != STAGE_VARIABLE}
    environment["OMP_NUM_THREADS"] = str(record["machine"]["threads"])
    done = subprocess.run(
        [sys.executable, *own, *arguments],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SuiteError(f"{' '.join(arguments[:2])}: failed in the clone ({reason})")


def _compare(stage: str, root: Path, again: Path, names: Sequence[str]) -> StageResult:
    num_equal = 0
    for name in names:
        before, after = _hashes(root / name), _hashes(again / name)
        for file in sorted(before | after):
            if before.get(file) != after.get(file):
                where = name if file == "." else f"{name}/{file}"
                return StageResult(stage, num_equal, _difference(where, file, before, after))
            num_equal += 1
    return StageResult(stage, num_equal, None)


def _difference(where: str, file: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    if file not in before:
        return f"{where} is new"
    return f"{where} differs" if file in after else f"{where} is not made again"


def _hashes(path: Path) -> dict[str, str]:
    """Return the hash of each file below `path`, or of `path` itself, by relative name."""
    if path.is_file():
        return {".": files.sha256(path)}
    return {
        file.relative_to(path).as_posix(): files.sha256(file)
        for file in path.rglob("*")
        if file.is_file()
    }
