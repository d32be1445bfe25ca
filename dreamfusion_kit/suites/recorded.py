"""What a run's records say about it: the commit that made it, and on what it ran."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.provenance import Provenance, StageCost
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_root
from dreamfusion_kit.suites import git

_SHORT = 12  # digits of a hash in a message


@dataclass(frozen=True)
class Source:
    """The commit to make an asset again from; `why` says how it was found."""

    commit: str
    why: str

    def __str__(self) -> str:
        """Return a line for a terminal."""
        return f"commit {self.commit[:_SHORT]}, {self.why}"


def read_record(workspace: Path, suite: str, asset: str) -> Provenance:
    """Return what an asset's optimisation ran on, or the import of its mesh."""
    path = _record_path(workspace, suite, asset)
    return files.read_json(path, Provenance, made_by=path.stem)


def named_source(workspace: Path, revision: str) -> Source:
    """Return the commit of a revision that the user named."""
    commit = git.commit_of(workspace, revision)
    if commit is None:
        raise SuiteError(
            f"--rev {revision}: not found in this repository; expected a workspace that is "
            "committed, and a revision of it"
        )
    return Source(commit, f"given as {revision}")


def recorded_source(workspace: Path, suite: str, asset: str) -> Source:
    """Return the commit that an asset's optimisation ran at.

    That is the commit which the run noted, if nothing was uncommitted then. A result is usually
    committed together with what made it, after the run; so otherwise it is the first commit
    whose dvc.lock has this run.

    Raises:
        SuiteError: if the commit is not in the repository, or there is none.
    """
    record = _record_path(workspace, suite, asset)
    lock = _lock(workspace, suite, asset)
    noted = _noted_commit(workspace, suite, asset)
    if noted is not None and not noted["dirty"]:
        commit = git.commit_of(workspace, noted["hash"])
        if commit is not None:
            return Source(commit, "recorded by the run")
    # DVC's hash of a file is this one.
    digest = hashlib.md5(record.read_bytes(), usedforsecurity=False).hexdigest()
    commit = git.first_with(workspace, digest, lock)
    if commit is not None:
        return Source(commit, f"the first whose {lock.name} has this run")
    raise SuiteError(
        f"{record}: {_without_commit(noted)}, and no commit before HEAD has this run in "
        f"{lock.as_posix()}; fetch the history, commit what made the asset, or name a revision "
        "with --rev"
    )


def differences(record: Provenance) -> list[str]:
    """Return how this environment differs from the record's, one line per fact."""
    device = torch.device("cpu" if record["machine"]["device"] == "cpu" else "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SuiteError(
            f"device: none here, {record['machine']['device']} in the record; make the asset again "
            "on a machine with a CUDA device"
        )
    here, there = provenance.machine(device), record["machine"]
    versions = {**provenance.package_versions(), "python": sys.version.split()[0]}
    recorded = {**record["packages"], "python": record["python"]}
    facts = {
        "system": (here["system"], there["system"]),
        "cpu": (here["cpu"], there["cpu"]),
        "cpu flags": (" ".join(here["cpu_flags"]), " ".join(there["cpu_flags"])),
        "device": (here["device"], there["device"]),
        **{
            name: (versions.get(name, "none"), recorded.get(name, "none"))
            for name in sorted(versions | recorded)
        },
    }
    return [
        f"{name}: {here or 'none'} here, {there or 'none'} in the record"
        for name, (here, there) in facts.items()
        if here != there
    ]


def code_difference(
    clone: Path, suite: str, record: Provenance, *, stage: AssetStage = "optimize"
) -> str | None:
    """Return a line if the code that a clone runs is not the record's; None if it is.

    A clone that holds the kit runs its own code, whose digest its kit.json has. Any other
    workspace runs the installed code. `stage` is the one that the record is of.
    """
    own = (clone / "cli.py").is_file()
    code = kit_file.read(clone, suite).suite.get("code", {}) if own else {}
    found = code.get(stage) if own else code_digest(stage)
    if found == record["code"]:
        return None
    whose = "the commit's kit.json" if own else "the installed version"
    return (
        f"code of {stage}: {str(found)[:_SHORT]} in {whose}, {record['code'][:_SHORT]} in the "
        "record"
    )


def _record_path(workspace: Path, suite: str, asset: str) -> Path:
    is_imported = resolve(workspace, suite, asset).imported is not None
    stage = "mesh" if is_imported else "optimize"
    return suite_root(workspace, suite) / "out" / "run" / asset / f"{stage}.json"


def _lock(workspace: Path, suite: str, asset: str) -> Path:
    """Return the dvc.lock that has the asset's stages, relative to the workspace."""
    folder = suite_root(workspace, suite).relative_to(workspace)
    if suite == DEFAULT:
        return folder / "dvc.lock"
    own = load_suite(workspace, suite).declared[asset].folder or asset
    return folder / "assets" / own / "dvc.lock"


def _noted_commit(workspace: Path, suite: str, asset: str) -> provenance.Commit | None:
    """Return the commit that the run noted; None if its note was not kept, as after a pull."""
    stage = _record_path(workspace, suite, asset).stem
    path = suite_root(workspace, suite) / "out" / "cost" / asset / f"{stage}.json"
    if not path.is_file():
        return None
    return files.read_json(path, StageCost, made_by=stage)["commit"]


def _without_commit(noted: provenance.Commit | None) -> str:
    if noted is None:
        return "found no note of its commit"
    commit = noted["hash"][:_SHORT]
    if noted["dirty"]:
        return f"found that it ran at commit {commit} with uncommitted changes"
    return f"found that it ran at commit {commit}, which is not in this repository"
