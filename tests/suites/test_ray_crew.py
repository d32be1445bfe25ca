"""Suites over Ray: two nodes on loopback, outputs through an S3 server.

The stages are real where outputs are compared with DVC's; otherwise they cost nothing.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import (
    FAKE,
    HANG_S,
    KIT,
    PROMPTS,
    SUITE,
    Workspace,
    assert_as_undisturbed,
    commit,
    contents,
    environment,
    make_workspace,
    share,
    wait_until,
)
from .ray_cluster import RayCluster

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

BUCKET = "outputs"
SERVER = Path(__file__).with_name("s3_server.py")


@dataclass
class Server:
    """An S3 server that can be taken away and brought back, empty."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, port: int = 0) -> "Server":
        process = subprocess.Popen(
            [sys.executable, str(SERVER), BUCKET, str(port)],
            env=environment() | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a line per request
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as printed:
            return cls(process, int(printed.readline()))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster() as started:
        yield started
    assert started.processes() == []


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server.start()
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _environment(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let drivers reach the cluster and the remote; they are none of its processes.

    Ray ends the workers of a driver that is gone when it gets to it. A test that kills one has to
    meet its own.
    """
    wait_until(lambda: cluster.workers() == [])
    for name, value in cluster.environment.items():
        if name != "RAY_TEST_CLUSTER":
            monkeypatch.setenv(name, value)


def share_by(server: Server, workspace: Workspace) -> None:
    share(workspace, f"s3://{BUCKET}/dvc", endpointurl=f"http://127.0.0.1:{server.port}")


def test_outputs_and_locks_are_those_of_a_serial_repro(
    serial: Workspace, fresh: Workspace, cluster: RayCluster, server: Server
) -> None:
    ours = fresh
    share_by(server, ours)
    done = ours.call(KIT, "suite", "run", SUITE, "--ray", cluster.address)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 made, 0 failed\n"
    assert ours.locks() == serial.locks()
    assert contents(ours.suite / "out") == contents(serial.suite / "out")
    assert ours.repro().count("Running stage") == 1  # `kit`, which always runs
    assert not list((ours.path / ".work").glob("driver-*"))


def test_killed_workers_are_replaced(
    cluster: RayCluster, server: Server, workspace: Workspace, undisturbed: Workspace
) -> None:
    """One while it works, and one at any moment."""
    share_by(server, workspace)
    chance, go = random.Random(0), workspace.path / "go"
    assets = ("ball", "cube")
    run = (FAKE, SUITE, "--ray", cluster.address, "--until", go)
    driver = workspace.start(*run, "--asset", "ball", "--asset", "cube")
    wait_until(lambda: list(workspace.logs.glob("*.running")), driver)
    os.kill(chance.choice(cluster.workers()), signal.SIGKILL)
    go.touch()
    time.sleep(chance.uniform(0.0, 3.0))
    for pid in chance.sample(workers := cluster.workers(), min(1, len(workers))):
        with suppress(ProcessLookupError):  # the run may end at this moment
            os.kill(pid, signal.SIGKILL)
    out, err = driver.communicate(timeout=HANG_S)
    assert (driver.returncode, out) == (0, "2 made, 0 failed\n"), err
    assert "Traceback" not in err
    assert "; it is taken again" in err
    assert_as_undisturbed(workspace, undisturbed, assets)


def test_two_drivers_share_a_cluster_and_a_remote(
    cluster: RayCluster, server: Server, workspace: Workspace, undisturbed: Workspace,
    tmp_path: Path,
) -> None:  # fmt: skip
    other, go = make_workspace(tmp_path / "other", PROMPTS), tmp_path / "go"
    drivers: list[subprocess.Popen[str]] = []
    for one in (workspace, other):
        share_by(server, one)
        run = (FAKE, SUITE, "--ray", cluster.address, "--jobs", "1", "--asset", "ball")
        drivers.append(one.start(*run, "--until", go))
    for one, driver in zip((workspace, other), drivers, strict=True):
        wait_until(lambda logs=one.logs: list(logs.glob("*.running")), driver)
    refused = workspace.run("--ray", cluster.address)
    assert refused.returncode == 2
    assert "another run of it is at work" in refused.stderr
    go.touch()
    for driver in drivers:
        out, err = driver.communicate(timeout=HANG_S)
        assert (driver.returncode, out) == (0, "1 made, 0 failed\n"), err
    assert_as_undisturbed(workspace, undisturbed, ["ball"])
    assert_as_undisturbed(other, undisturbed, ["ball"])


def test_a_remote_that_goes_away_costs_only_this_run(
    cluster: RayCluster, server: Server, workspace: Workspace, undisturbed: Workspace
) -> None:
    share_by(server, workspace)
    go = workspace.path / "go"
    driver = workspace.start(
        FAKE, SUITE, "--ray", cluster.address, "--asset", "ball", "--until", go
    )
    wait_until(lambda: list(workspace.logs.glob("*.running")), driver)
    server.stop()
    go.touch()
    out, err = driver.communicate(timeout=HANG_S)
    assert driver.returncode == 1, err
    assert out.startswith("0 made, 1 failed\nball: ")
    assert len(out.splitlines()) == 2
    assert re.search(r"dvc (push|pull): failed", out)
    assert "Traceback" not in err
    again = Server.start(server.port)
    try:
        done = workspace.run("--ray", cluster.address, "--asset", "ball")
    finally:
        again.stop()
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert_as_undisturbed(workspace, undisturbed, ["ball"])


def test_a_killed_workers_optimisation_resumes(
    cluster: RayCluster, server: Server, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "workspace", {"ball": "a red ball"}, num_steps=20)
    share_by(server, workspace)
    go = workspace.path / "go"
    run = (FAKE, SUITE, "--real", "--ray", cluster.address, "--jobs", "1", "--until", go)
    driver = workspace.start(*run)
    checkpoints = (workspace.path / ".work").glob
    wait_until(lambda: list(checkpoints("*/checkpoint*/*.safetensors")), driver)
    (worker,) = cluster.workers()
    os.kill(worker, signal.SIGKILL)
    go.touch()
    out, err = driver.communicate(timeout=HANG_S)
    assert (driver.returncode, out) == (0, "1 made, 0 failed\n"), err
    assert "resuming at step" in (workspace.logs / "ball.log").read_text()


def test_what_cannot_work_is_refused_in_one_line(cluster: RayCluster, workspace: Workspace) -> None:
    run = ("suite", "run", SUITE, "--ray", cluster.address)
    commit(workspace)
    done = workspace.call(KIT, *run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no default remote" in done.stderr
    share(workspace, "../elsewhere")
    done = workspace.call(KIT, *run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "found the relative path" in done.stderr
    recipe = workspace.path / "recipes" / "analytic.yaml"
    recipe.write_text(recipe.read_text() + "# a comment\n")
    done = workspace.call(KIT, *run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("recipes/analytic.yaml: differs from the commit")
