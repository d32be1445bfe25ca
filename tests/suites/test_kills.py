"""Workers and drivers killed at any moment: the next run ends in the same bytes.

KILLS=50 in the environment kills at that many random points instead of a handful.
"""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dreamfusion_kit.workspace import edit

from .conftest import (
    FAKE,
    HANG_S,
    KIT,
    PROMPTS,
    SUITE,
    Workspace,
    assert_as_undisturbed,
    contents,
    make_workspace,
    wait_until,
)

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


def assert_ends_as_undisturbed(workspace: Workspace, undisturbed: Workspace) -> None:
    done = workspace.run()
    assert done.returncode == 0, done.stderr
    assert workspace.running() == []
    assert_as_undisturbed(workspace, undisturbed)


def test_killed_workers_are_replaced(workspace: Workspace, undisturbed: Workspace) -> None:
    """One while it works, and up to four more at any moment."""
    chance, go = random.Random(0), workspace.path / "go"
    driver = workspace.start(FAKE, SUITE, "--sleep", "0.4", "--until", go)
    wait_until(workspace.workers, driver)
    os.kill(chance.choice(workspace.workers()), signal.SIGKILL)
    go.touch()
    for _ in range(4):
        time.sleep(chance.uniform(0.0, 1.0))
        for pid in chance.sample(workers := workspace.workers(), min(1, len(workers))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=HANG_S)
    assert driver.returncode in (0, 1), err
    assert "Traceback" not in err
    assert "was ended by SIGKILL" in err
    assert_ends_as_undisturbed(workspace, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_that_ends_leaves_nothing(
    workspace: Workspace, undisturbed: Workspace, number: signal.Signals, seed: int
) -> None:
    """Seeds: before the first worker, while they work, and while what they made is committed.

    One asset is held, so that the run cannot end before the signal.
    """
    edit.add(workspace.path, SUITE, "slow", prompt="a (held) cup", recipe="analytic", seed=0)
    chance, go = random.Random(seed), workspace.path / "go"
    go.touch()
    driver = workspace.start(FAKE, SUITE, "--sleep", "0.2", "--until", go)
    if seed == 0:
        wait_until((workspace.logs / "dvc.log").exists, driver)
        time.sleep(chance.uniform(0.0, 1.0))
    elif seed == 1:
        wait_until(workspace.workers, driver)
        time.sleep(chance.uniform(0.0, 1.0))
    else:
        wait_until(lambda: _is_committing(workspace) or _has_committed(workspace), driver)
    driver.send_signal(number)
    _, err = driver.communicate(timeout=HANG_S)
    assert driver.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    wait_until(lambda: workspace.workers() == [])
    edit.remove(workspace.path, SUITE, "slow")
    assert_ends_as_undisturbed(workspace, undisturbed)


@pytest.mark.parametrize("seed", range(int(os.environ.get("KILLS", "4"))))
def test_whoever_is_killed_the_next_run_ends_in_the_same_bytes(
    workspace: Workspace, undisturbed: Workspace, seed: int
) -> None:
    """In turn the driver, a worker, DVC, and all of them at once, as the end of a machine does."""
    chance = random.Random(f"kill {seed}")
    driver = workspace.start(FAKE, SUITE, "--sleep", "0.1")
    delay_s = chance.uniform(0.0, 8.0)
    deadline = time.monotonic() + delay_s
    while time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.01)
    victims = _victims(workspace, driver.pid, seed)
    while not victims and driver.poll() is None:
        time.sleep(0.005)
        victims = _victims(workspace, driver.pid, seed)
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=HANG_S)
    assert "Traceback" not in err
    wait_until(lambda: workspace.running() == [])
    assert_ends_as_undisturbed(workspace, undisturbed)


def _victims(workspace: Workspace, driver: int, seed: int) -> list[int]:
    """Return whom to kill, if it is at work now."""
    running = workspace.running()
    workers = workspace.workers()
    match seed % 4:
        case 0:
            return [driver]
        case 1:
            return workers[:1]
        case 2:
            return [pid for pid in running if pid != driver and pid not in workers][:1]
        case _:
            return running


def test_a_killed_workers_optimisation_resumes(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace", {"ball": "a red ball"}, num_steps=20)
    go = workspace.path / "go"
    driver = workspace.start(FAKE, SUITE, "--real", "--jobs", "1", "--until", go)
    wait_until(lambda: _checkpoints(workspace), driver)
    (worker,) = workspace.workers()
    os.kill(worker, signal.SIGKILL)
    go.touch()
    out, err = driver.communicate(timeout=HANG_S)
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


def _has_committed(workspace: Workspace) -> bool:
    return any(path.parent.name in PROMPTS for path in workspace.suite.glob("assets/*/dvc.lock"))


def _is_committing(workspace: Workspace) -> bool:
    for pid in workspace.running():
        try:
            if b"commit" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False
