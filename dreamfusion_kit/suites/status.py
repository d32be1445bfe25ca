"""The state of a suite: for each asset, what is made, stale, running or failed."""

import fcntl
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites.plan import AssetPlan, plan


def table(workspace: Path, name: str) -> tuple[str, bool]:
    """Return the table of the suite `name`, and whether everything in it is up to date.

    Digests are computed from the present code and recipes, whatever kit.json says.
    """
    suite = load_suite(workspace, name)
    if not suite.assets:
        return f"{name}: no assets\n", True
    todo = plan(workspace, suite, kit_file.current(workspace, name))
    running, failed = _running(workspace, name), read_failures(workspace, name)
    rows = [(asset.asset, *_state(asset, running, failed)) for asset in todo.assets]
    width = max(len(asset) for asset, _, _ in rows)
    lines = [f"{asset:{width}}  {state:8}  {reason}".rstrip() for asset, state, reason in rows]
    counts = Counter(state for _, state, _ in rows)
    lines.append(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return "\n".join(lines) + "\n", set(counts) == {"made"}


def _state(asset: AssetPlan, running: set[str], failed: dict[str, str]) -> tuple[str, str]:
    if asset.asset in running:
        return "running", ""
    if not asset.stale:
        return "made", ""
    if asset.asset in failed:
        return "failed", failed[asset.asset]
    first = next(state for state in asset.stages if state.reason)
    if len(asset.stale) == len(asset.stages) and first.reason == "not made yet":
        return "missing", ""
    return "stale", f"{first.stage}: {first.reason}"


def failures_file(workspace: Path, name: str) -> Path:
    """Return where a run of the suite writes its failures."""
    return workspace / ".work" / "logs" / name / "failed.json"


def read_failures(workspace: Path, name: str) -> dict[str, str]:
    """Return what failed in runs of the suite, with reasons; none if the file cannot be read."""
    try:
        found = json.loads(failures_file(workspace, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(asset): " ".join(str(reason).split()) for asset, reason in found.items()}


def log_file(workspace: Path, name: str, asset: str) -> Path:
    """Return where an asset's worker writes what its stages print."""
    return workspace / ".work" / "logs" / name / f"{asset}.log"


def _running(workspace: Path, name: str) -> set[str]:
    running: set[str] = set()
    for path in (workspace / ".work" / "logs" / name).glob("*.running"):
        with suppress(FileNotFoundError), path.open() as file:  # it may finish just now
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                running.add(path.stem)
    return running
