"""Suites made by workers: the same bytes and locks as by `dvc repro`, whatever fails.

The stages are real if outputs are compared with DVC's; otherwise they cost nothing.
"""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.suites import dvc_commands
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.driver import run_suite
from dreamfusion_kit.suites.plan import AssetPlan
from dreamfusion_kit.workspace import edit, sync

from .conftest import FAKE, HANG_S, KIT, SUITE, Workspace, contents, make_workspace, wait_until

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


def test_outputs_and_locks_are_those_of_a_serial_repro(serial: Workspace, fresh: Workspace) -> None:
    ours = fresh
    done = ours.call(KIT, "suite", "run", SUITE, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 made, 0 failed\n"
    assert ours.locks() == serial.locks()
    assert contents(ours.suite / "out") == contents(serial.suite / "out")
    metrics = Path("metrics") / f"{SUITE}.json"
    assert (ours.suite / metrics).read_bytes() == (serial.suite / metrics).read_bytes()
    # The stage `kit` always runs: it checks whether anything else has to.
    assert ours.repro().count("Running stage") == 1
    again = ours.call(KIT, "suite", "run", SUITE)
    assert (again.returncode, again.stdout) == (0, "0 made, 0 failed\n")
    status = ours.call(KIT, "suite", "status", SUITE)
    assert (status.returncode, status.stdout) == (0, "ball  made\npill  made\n2 made\n")


def test_a_failed_asset_stops_no_other(workspace: Workspace) -> None:
    edit.add(
        workspace.path, SUITE, "bad", prompt="a blob (fails in mesh)", recipe="analytic", seed=0
    )
    done = workspace.run()
    assert done.returncode == 1
    reason = "mesh: bad: found no surface, expected one"
    log = workspace.logs.relative_to(workspace.path) / "bad.log"
    assert done.stdout.splitlines() == ["3 made, 1 failed", f"bad: {reason} (log: {log})"]
    assert "Traceback" not in done.stderr
    assert "mesh of bad\nbad: found no surface" in (workspace.path / log).read_text()
    status = workspace.call(KIT, "suite", "status", SUITE)
    assert status.returncode == 1
    assert f"bad    failed    {reason}" in status.stdout
    assert status.stdout.endswith("1 failed, 3 made\n")
    again = workspace.run("--asset", "ball")
    assert (again.returncode, again.stdout) == (0, "0 made, 0 failed\n")
    assert "failed" in workspace.call(KIT, "suite", "status", SUITE).stdout


def test_a_worker_that_dies_each_time_fails_its_asset_alone(workspace: Workspace) -> None:
    edit.add(
        workspace.path, SUITE, "bad", prompt="a blob (dies in mesh)", recipe="analytic", seed=0
    )
    done = workspace.run("--jobs", "1")
    assert done.returncode == 1
    assert "3 made, 1 failed\nbad: mesh: its worker was ended by SIGKILL" in done.stdout
    ran = (workspace.logs / "bad.log").read_text().splitlines()
    assert ran == ["embed of bad", "optimize of bad"] + 3 * ["mesh of bad"]


def test_a_second_run_at_once_is_refused(workspace: Workspace) -> None:
    never = workspace.path / "never"
    first = workspace.start(FAKE, SUITE, "--asset", "ball", "--until", never)
    wait_until(lambda: (workspace.logs / "ball.running").exists(), first)
    assert "ball   running" in workspace.call(KIT, "suite", "status", SUITE).stdout
    second = workspace.run()
    assert second.returncode == 2
    assert second.stderr == (
        f"suite {SUITE}: another run of it is at work; expected one at a time; wait for it, or "
        "end it\n"
    )


def test_digests_that_change_during_a_run_are_not_recorded(workspace: Workspace) -> None:
    go = workspace.path / "go"
    first = workspace.start(FAKE, SUITE, "--asset", "ball", "--until", go)
    wait_until(lambda: "embed of ball" in _text(workspace.logs / "ball.log"), first)
    own = workspace.suite / "assets" / "ball" / "asset.yaml"
    own.write_text(own.read_text().replace("seed: 0", "seed: 1"))
    sync.sync(workspace.path, SUITE)
    go.touch()
    out, err = first.communicate(timeout=HANG_S)
    assert first.returncode == 1, err
    assert "ball: " in out
    assert "kit.json: changed while the suite was made" in out
    assert workspace.run("--asset", "ball").stdout == "1 made, 0 failed\n"


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


class _Prepared(Exception):  # noqa: N818 - ends a run before its workers start
    pass


class _Crew:
    def prepare(self, suite: Suite, assets: Sequence[AssetPlan], log: Path) -> None:
        raise _Prepared(sorted(suite.assets), [asset.asset for asset in assets])


def test_an_edit_while_a_run_starts_is_part_of_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `suite add` and an editor, after the suite was read and before its digests are."""

    def repro(root: Path, targets: Sequence[str], log: Path) -> None:
        if targets == ["kit"]:
            edit.remove(workspace.path, SUITE, "cube")
            edit.add(workspace.path, SUITE, "late", prompt="a cone", recipe="analytic", seed=0)

    monkeypatch.setattr(dvc_commands, "repro", repro)
    with pytest.raises(_Prepared) as prepared:
        run_suite(workspace.path, SUITE, crew=cast(Crew, _Crew()))
    assert prepared.value.args == (["ball", "horse", "late"],) * 2


def test_an_asset_is_not_removed_during_a_run(workspace: Workspace) -> None:
    go = workspace.path / "go"
    first = workspace.start(FAKE, SUITE, "--asset", "ball", "--until", go)
    wait_until(lambda: (workspace.logs / "ball.running").exists(), first)
    done = workspace.call(KIT, "suite", "rm", "ball", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "at work" in done.stderr
    go.touch()
    out, err = first.communicate(timeout=HANG_S)
    assert (first.returncode, out) == (0, "1 made, 0 failed\n"), err
    done = workspace.call(KIT, "suite", "rm", "ball", "--suite", SUITE)
    assert done.returncode == 0, done.stderr
    assert not list((workspace.suite / "out").glob("*/ball*"))


def test_unknown_assets_and_empty_suites_are_one_line(workspace: Workspace) -> None:
    done = workspace.run("--asset", "bal")
    assert done.returncode == 2
    assert done.stderr == (
        f"suites/{SUITE}/suite.yaml:1: no asset 'bal' (did you mean ball?); it has ball, cube, "
        "horse\n"
    )
    for asset in ("ball", "cube", "horse"):
        edit.remove(workspace.path, SUITE, asset)
    done = workspace.run()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "found no assets" in done.stderr


def test_a_full_disk_fails_the_assets_that_need_it(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace", {"large": "a red mug", "small": "a red cup"})
    own = workspace.suite / "assets" / "large" / "asset.yaml"
    own.write_text(own.read_text().replace("{}", '{"field.resolution": 96}'))
    sync.sync(workspace.path, SUITE)
    limited = (
        "import resource, runpy, sys; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, resource.RLIM_INFINITY)); "
        f"sys.argv = ['cli.py', 'suite', 'run', '{SUITE}', '--jobs', '1']; "
        "from dreamfusion_kit.cli import main; main()"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = workspace.call("-c", limited)
    assert done.returncode == 1, done.stderr
    made, failed = done.stdout.splitlines()
    assert made == "1 made, 1 failed"
    assert failed.startswith("large: optimize: ")
    assert "File too large; raise the limit" in failed
    assert "Traceback" not in done.stderr
    assert json.loads((workspace.logs / "failed.json").read_text()).keys() == {"large"}
    assert list(workspace.suite.rglob("*.partial")) == []
