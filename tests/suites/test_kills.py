"""Workers and drivers killed at any moment: the next run ends in the same bytes."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from .conftest import FAKE, KIT, PROMPTS, SUITE, Workspace, contents, make_workspace, wait_until

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_workspace(tmp_path_factory.mktemp("undisturbed") / "workspace", PROMPTS)
    done = made.run()
    assert done.returncode == 0, done.stderr
    return made


def assert_as_undisturbed(workspace: Workspace, undisturbed: Workspace) -> None:
    done = workspace.run()
    assert done.returncode == 0, done.stderr
    assert workspace.running() == []
    assert contents(workspace.suite / "out") == contents(undisturbed.suite / "out")
    assert workspace.locks() == undisturbed.locks()


def test_killed_workers_are_replaced(workspace: Workspace, undisturbed: Workspace) -> None:
    chance = random.Random(0)
    driver = workspace.start(FAKE, SUITE, "--sleep", "0.4")
    for _ in range(5):
        wait_until(workspace.workers, driver)
        time.sleep(chance.uniform(0.0, 0.6))
        for pid in chance.sample(workers := workspace.workers(), min(1, len(workers))):
            os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode in (0, 1), err
    assert "Traceback" not in err
    assert "was ended by SIGKILL" in err
    assert_as_undisturbed(workspace, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_that_ends_leaves_nothing(
    workspace: Workspace, undisturbed: Workspace, number: signal.Signals, seed: int
) -> None:
    """Seeds: before the first worker, while they work, and while what they made is committed."""
    chance = random.Random(seed)
    driver = workspace.start(FAKE, SUITE, "--sleep", "0.2")
    if seed == 0:
        wait_until((workspace.logs / "dvc.log").exists, driver)
        time.sleep(chance.uniform(0.0, 1.0))
    elif seed == 1:
        wait_until(workspace.workers, driver)
        time.sleep(chance.uniform(0.0, 1.0))
    else:
        wait_until(lambda: _is_committing(workspace), driver)
    driver.send_signal(number)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    deadline = time.monotonic() + 5
    while workspace.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workspace.workers() == []
    assert_as_undisturbed(workspace, undisturbed)


def test_a_killed_workers_optimisation_resumes(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace", {"ball": "a red ball"}, num_steps=300)
    driver = workspace.start(KIT, "suite", "run", SUITE, "--jobs", "1")
    wait_until(lambda: _checkpoints(workspace), driver)
    (worker,) = workspace.workers()
    os.kill(worker, signal.SIGKILL)
    out, err = driver.communicate(timeout=300)
    assert (driver.returncode, out) == (0, "1 made, 0 failed\n"), err
    assert "resuming at step" in (workspace.logs / "ball.log").read_text()
    field = workspace.suite / "out" / "field" / "ball"
    after_kill = contents(field)
    alone = workspace.call(KIT, "optimize", "ball", "--suite", SUITE)
    assert "resuming" not in alone.stderr
    assert contents(field) == after_kill


def _checkpoints(workspace: Workspace) -> list[Path]:
    """Return the files of checkpoints that are whole."""
    return [
        path
        for path in (workspace.path / ".work").rglob("*.safetensors")
        if not any(part.endswith(".partial") for part in path.parts)
    ]


def _is_committing(workspace: Workspace) -> bool:
    for pid in workspace.running():
        try:
            if b"commit" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False
