"""Workspaces with tiny suites, and the driver as a program that can be killed."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.workspace import dvc_project, edit, folder

ROOT = Path(__file__).parents[2]
SUITE = "tiny"
FAKE = Path(__file__).with_name("fake_suite.py")
KIT = ROOT / "cli.py"
HANG_S = 600.0  # far more than anything takes on a busy machine: only what hangs is ended
PROMPTS = {"ball": "a red ball", "cube": "a green cube", "horse": "a wooden horse"}


def environment() -> dict[str, str]:
    """Return the environment of a program that runs this checkout's kit."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{FAKE.parent}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _end_programs() -> Iterator[None]:
    """End the programs that a test has started and that still run, as after a failure."""
    yield
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@dataclass
class Workspace:
    """A workspace, the programs that were started in it, and what they left behind."""

    path: Path

    @property
    def suite(self) -> Path:
        return self.path / "suites" / SUITE

    @property
    def logs(self) -> Path:
        return self.path / ".work" / "logs" / SUITE

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=self.path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _started.append(process)
        return process

    def call(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        process = self.start(*command)
        out, err = process.communicate(timeout=HANG_S)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the suite with stages that cost nothing."""
        return self.call(FAKE, SUITE, *options)

    def repro(self) -> str:
        """Run plain `dvc repro` over the suite; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "-R", "."],
            cwd=self.suite,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def locks(self) -> dict[str, str]:
        """Return every dvc.lock of the suite."""
        paths = sorted(self.suite.rglob("dvc.lock"))
        return {path.relative_to(self.suite).as_posix(): path.read_text() for path in paths}

    def running(self) -> list[int]:
        """Return the processes that work in this workspace (Linux)."""
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                cwd = (process / "cwd").resolve()
                if (cwd == self.path or self.path in cwd.parents) and (
                    process / "cmdline"
                ).read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def workers(self) -> list[int]:
        """Return those of them that are workers (Linux)."""
        return [pid for pid in self.running() if b"spawn_main" in command_line(pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None
) -> None:
    """Wait for what happens while `process` runs."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def contents(directory: Path, *, without: str = "cost") -> dict[str, bytes]:
    """Return every file below a folder, but for those in folders named `without`."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and without not in path.relative_to(directory).parts
    }


def make_workspace(
    path: Path, prompts: dict[str, str], *, num_steps: int = 6, judged: bool = True
) -> Workspace:
    """Make a workspace whose suite `tiny` has these assets, on the analytic prior.

    The CLIP that judges reads twenty tokens; without it, prompts may be longer.
    """
    (path / "recipes").mkdir(parents=True)
    recipe = (ROOT / "recipes" / "analytic.yaml").read_text()
    recipe = re.sub(r"num_steps: \d+", f"num_steps: {num_steps}", recipe)
    (path / "recipes" / "analytic.yaml").write_text(recipe)
    (path / "params.yaml").write_text(_params(judged=judged))
    dvc_project.make_project(path)
    folder.new_suite(path, SUITE)
    for asset, prompt in prompts.items():
        edit.add(path, SUITE, asset, prompt=prompt, recipe="analytic", seed=0)
    return Workspace(path)


def _params(*, judged: bool) -> str:
    """Return a default suite of one asset, and a protocol that takes a moment."""
    protocol = yaml_text.parse((ROOT / "params.yaml").read_text(), "params.yaml").data["evaluation"]
    protocol["views"] |= {"num_azimuths": 2, "image_size_px": 32, "supersampling": 1}
    protocol["turntable"] |= {"num_frames": 3, "image_size_px": 32}
    protocol["geometry"] |= {"num_points": 500, "surface_resolution": 24, "iou_resolution": 16}
    if not judged:
        protocol["clip"] = None
    asset = {"prompt": "a blue mug", "recipe": "analytic", "seed": 0, "overrides": {}}
    return (
        "suite: default\nrecipes: [analytic]\n"
        f"assets:\n  mug: {json.dumps(asset)}\nevaluation: {json.dumps(protocol)}\n"
    )


def share(made: Workspace, url: str, **options: str) -> None:
    """Give a workspace a remote, and commit it."""
    config = made.path / ".dvc" / "config"
    lines = [f"    {key} = {value}" for key, value in {"url": url, **options}.items()]
    text = config.read_text().replace("[core]", "[core]\n    remote = shared")
    config.write_text("\n".join([text.rstrip(), "['remote \"shared\"']", *lines, ""]))
    dvc_project.make_subproject(made.suite, made.path)
    commit(made)


def commit(made: Workspace) -> None:
    """Commit everything in a workspace."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "as it is"]):
        subprocess.run(["git", *identity, *command], cwd=made.path, check=True)


def assert_as_undisturbed(workspace: Workspace, undisturbed: Workspace) -> None:
    """Check that outputs and locks have the bytes that a run has which nobody disturbs."""
    assert contents(workspace.suite / "out") == contents(undisturbed.suite / "out")
    assert workspace.locks() == undisturbed.locks()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace whose suite has three assets, none of which is made."""
    return make_workspace(tmp_path / "workspace", PROMPTS)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace whose stages that cost nothing were run by local workers."""
    made = make_workspace(tmp_path_factory.mktemp("undisturbed") / "workspace", PROMPTS)
    done = made.run()
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with two assets, made by plain `dvc repro`."""
    first = dict(list(PROMPTS.items())[:2])
    made = make_workspace(tmp_path_factory.mktemp("serial") / "workspace", first)
    shutil.copytree(made.path, made.path.with_name("fresh"))  # as it was before
    made.repro()
    return made
