"""Makes an asset again in a clone, and compares it with the existing one, file by file."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity.stage_name import AssetStage, asset_stages
from dreamfusion_kit.optimize import trace_file
from dreamfusion_kit.provenance import Provenance
from dreamfusion_kit.recipe import local_models
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.recipe.schema import RefineSection
from dreamfusion_kit.recipe.suite_schema import FETCHED_CLIP
from dreamfusion_kit.recipe.workspace import asset_source, suite_root
from dreamfusion_kit.suites import git
from dreamfusion_kit.suites.plan import outputs
from dreamfusion_kit.suites.recorded import Source, code_difference, read_record
from dreamfusion_kit.supervision import STAGE_VARIABLE

# Where the stages that record digests of every step put them.
_TRACED: Mapping[AssetStage, Path] = {
    "optimize": Path("out") / "field",
    "refine": Path("out") / "refined",
}


@dataclass(frozen=True)
class StageResult:
    """A stage made again: how many files are equal, and the first that differs, if one does.

    `parting` is the step and the kind of tensor at which the optimisation differs first.
    """

    stage: str
    num_equal: int
    difference: str | None
    parting: str | None = None

    def __str__(self) -> str:
        """Return a line for a terminal, or two."""
        if self.difference is None:
            return f"{self.stage}: equal ({self.num_equal} files)"
        lines = [self.difference] if self.parting is None else [self.difference, self.parting]
        return "\n".join(f"{self.stage}: {line}" for line in lines)


def reproduce(
    workspace: Path, suite: str, asset: str, *, source: Source, bisect: bool = False
) -> Iterator[StageResult | str]:
    """Yield the result of one stage after the other, up to the first that differs.

    The stages run in a temporary clone of the workspace's Git repository at `source`, with the
    clone's own code if it holds the kit, on the kind of device and with the number of threads
    in the asset's record. Lines in between tell of the code.

    Args:
        workspace: The workspace.
        suite: The asset's suite.
        asset: An asset that is made.
        source: The commit.
        bisect: Also say at which step, and in which kind of tensor, the optimisation differs.

    Raises:
        SuiteError: if the asset is not made, or a stage fails.
        RecipeError: if there is no such asset.
        DreamFusionKitError: with `bisect`, if the run has no digests.
    """
    resolved = resolve(workspace, suite, asset)
    stages = asset_stages(imported=resolved.imported is not None, refined=resolved.refines)
    fetched = [*([resolved.recipe_name] if "embed" in stages else []), FETCHED_CLIP]
    root = suite_root(workspace, suite)
    record = read_record(workspace, suite, asset)
    for stage in stages:
        for name in outputs(stage, asset):
            if not (root / name).exists():
                raise SuiteError(f"{root / name}: not there, expected an asset that is made")
    traced = {stage: _TRACED[stage] / asset for stage in stages if stage in _TRACED}
    digests = {s: trace_file.read(root / folder) for s, folder in traced.items()} if bisect else {}
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as folder:
        clone = git.clone(workspace, source.commit, Path(folder) / "clone")
        recorded = "mesh" if resolved.imported is not None else "optimize"
        if line := code_difference(clone, suite, record, stage=recorded):
            yield line
        again = suite_root(clone, suite)
        _bring_untracked(workspace, clone, suite, asset, resolved)
        models = [f"out/model/{name}.json" for name in fetched]
        for name in fetched:
            _run(clone, record, ["fetch", name, "--suite", suite])
        yield (result := _compare("fetch", root, again, models))
        for stage in stages:
            if result.difference is not None:
                return
            _run(clone, record, [stage, asset, "--suite", suite, "--device", _device(record)])
            # A run record names the machine, which `recorded.differences` compares.
            results = [name for name in outputs(stage, asset) if not name.startswith("out/run/")]
            result = _compare(stage, root, again, results)
            if stage in digests and result.difference is not None:
                phases = resolved.recipe.refine if stage == "refine" else None
                parting = _parting(digests[stage], again / traced[stage], source, phases)
                result = replace(result, parting=parting)
            yield result


def _bring_untracked(
    workspace: Path, clone: Path, suite: str, asset: str, resolved: ResolvedAsset
) -> None:
    """Copy what Git does not hold: an imported mesh, which is checked, and where models lie."""
    if resolved.imported is not None:
        shutil.copytree(
            asset_source(workspace, suite, asset),
            asset_source(clone, suite, asset),
            dirs_exist_ok=True,
        )
    if (models := workspace / local_models.FILE).is_file():
        shutil.copyfile(models, clone / local_models.FILE)


def _parting(
    digests: list[tuple[str, ...]], again: Path, source: Source, refine: RefineSection | None
) -> str:
    if not (again / trace_file.NAME).is_file():
        return f"{source} records no digests of its steps; name a later one with --rev"
    found = trace_file.parting(digests, trace_file.read(again))
    if found is None:
        return "every step is equal; what differs was made after the last"
    if refine is None:
        return str(found)
    index, step = refine.phase_at(found.step)
    return f"phase {index + 1}, {replace(found, step=step)}"


def _device(record: Provenance) -> str:
    return "cpu" if record["machine"]["device"] == "cpu" else "cuda"


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
        errors="backslashreplace",  # it may name files that are not UTF-8
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
