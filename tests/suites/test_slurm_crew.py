"""Suites as Slurm jobs: by a Slurm of one machine that really runs them, and by submitit alone.

The stages cost nothing; test_docs_scaling.py has the kit's own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import fake_slurm
from .conftest import (
    FAKE,
    HANG_S,
    KIT,
    SUITE,
    Workspace,
    assert_as_undisturbed,
    share,
    wait_until,
)

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


@dataclass
class Slurm:
    """The state of the Slurm of one machine."""

    state: Path

    def scripts(self) -> list[str]:
        return [path.read_text() for path in sorted(self.state.glob("*.sh"))]

    def jobs(self) -> list[int]:
        """Return the process groups of running jobs."""
        return [
            int(path.read_text())
            for path in sorted(self.state.glob("*.pid"))
            if path.with_suffix(".state").read_text() == "RUNNING"
        ]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    started = Slurm(tmp_path / "slurm")
    yield started
    for group in started.jobs():
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def test_submitits_own_executor(
    workspace: Workspace, undisturbed: Workspace, tmp_path: Path
) -> None:
    share(workspace, str(tmp_path / "remote"))
    done = workspace.run("--slurm", "local", "--asset", "ball", "--asset", "cube")
    assert (done.returncode, done.stdout) == (0, "2 made, 0 failed\n"), done.stderr
    assert_as_undisturbed(workspace, undisturbed, ["ball", "cube"])
    (folder,) = (workspace.path / ".work" / "slurm").iterdir()
    assert folder.stat().st_mode & 0o077 == 0  # what it holds is unpickled


def test_a_killed_job_is_submitted_again(
    workspace: Workspace, cluster: Slurm, undisturbed: Workspace, tmp_path: Path
) -> None:
    share(workspace, str(tmp_path / "remote"))
    go = workspace.path / "go"
    run = (FAKE, SUITE, "--slurm", "slurm", "--until", go)
    driver = workspace.start(*run, "--asset", "ball", "--asset", "cube")
    wait_until(lambda: list(workspace.logs.glob("*.running")), driver)
    wait_until(cluster.jobs, driver)
    os.killpg(cluster.jobs()[0], signal.SIGKILL)
    go.touch()
    out, err = driver.communicate(timeout=HANG_S)
    assert (driver.returncode, out) == (0, "2 made, 0 failed\n"), err
    assert "; it is taken again" in err
    assert len(cluster.scripts()) == 3
    assert_as_undisturbed(workspace, undisturbed, ["ball", "cube"])


def test_an_interrupted_driver_cancels_its_jobs(
    workspace: Workspace, cluster: Slurm, tmp_path: Path
) -> None:
    share(workspace, str(tmp_path / "remote"))
    never = workspace.path / "never"
    driver = workspace.start(FAKE, SUITE, "--slurm", "slurm", "--until", never)
    wait_until(lambda: list(workspace.logs.glob("*.running")), driver)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=HANG_S)
    assert driver.returncode == 130, err
    assert "Traceback" not in err
    wait_until(lambda: workspace.running() == [])
    assert {path.read_text() for path in cluster.state.glob("*.state")} == {"CANCELLED by 0"}


def test_a_driver_interrupted_while_it_submits_cancels_that_job(
    workspace: Workspace, cluster: Slurm, tmp_path: Path
) -> None:
    share(workspace, str(tmp_path / "remote"))
    cluster.state.mkdir()
    (cluster.state / "slow").touch()
    never = workspace.path / "never"
    driver = workspace.start(FAKE, SUITE, "--slurm", "slurm", "--until", never)
    wait_until(cluster.jobs, driver)
    driver.send_signal(signal.SIGINT)
    (cluster.state / "slow").unlink()
    _, err = driver.communicate(timeout=HANG_S)
    assert driver.returncode == 130, err
    assert "Traceback" not in err
    wait_until(lambda: workspace.running() == [])
    assert [path.read_text() for path in cluster.state.glob("*.state")] == ["CANCELLED by 0"]


def test_what_cannot_work_is_refused_in_one_line(
    workspace: Workspace, cluster: Slurm, tmp_path: Path
) -> None:
    share(workspace, str(tmp_path / "remote"))
    run = ("suite", "run", SUITE, "--slurm", "--slurm-option")
    for option, problem in (("partition=full", "Queue is full"), ("colour=red", "colour")):
        done = workspace.call(KIT, *run, option)
        *others, last = done.stderr.splitlines()
        assert done.returncode == 2, done.stderr
        assert last.startswith("--slurm: ")
        assert problem in last
        assert all(line.startswith("sbatch: error: ") for line in others)  # its own
