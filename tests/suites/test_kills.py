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
    deadline = time.monotonic() + 30
    while not victims and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
        victims = _victims(workspace, driver.pid, seed)
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while workspace.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workspace.running() == []
    assert_as_undisturbed(workspace, undisturbed)


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
