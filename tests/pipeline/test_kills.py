"""DVC or its stage, killed at any moment, leave nothing that the next `dvc repro` stumbles over.

KILLS=50 in the environment kills that often.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.stages import embed, fetch, optimize
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import edit as suite_edit
from dreamfusion_kit.workspace import sync

from .conftest import ROOT

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

NUM_KILLS = int(os.environ.get("KILLS", "6"))
CPU = torch.device("cpu")
REPRO = (sys.executable, "-m", "dvc", "repro", "--force")


def environment() -> dict[str, str]:
    """Return this process's environment, on one thread, with its own programs first."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return os.environ | {
        "PATH": os.pathsep.join(folders),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a DVC project whose only stage optimises for some seconds."""
    data = ROOT / "tests" / "recipe" / "data" / "workspace"
    workspace = shutil.copytree(data, tmp_path / "workspace")
    recipe = workspace / "recipes" / "analytic.yaml"
    recipe.write_text(re.sub(r"num_steps: \d+", "num_steps: 300", recipe.read_text()))
    fetch.run(workspace, "default", "analytic")
    suite_edit.add(workspace, "default", "mug", prompt="a red mug", recipe="analytic", seed=0)
    embed.run(workspace, "default", "mug", CPU)
    command = f"exec {sys.executable} {ROOT / 'cli.py'} optimize mug"
    pipeline = f"stages:\n  optimize:\n    cmd: {command}\n    outs: [out/field/mug]\n"
    (workspace / "dvc.yaml").write_text(pipeline)
    sync.sync(workspace, "default")
    init = [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"]
    subprocess.run(init, cwd=workspace, check=True)
    return workspace


def running_in(folder: Path) -> list[int]:
    """Return the processes whose current folder it is."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve() and (
                process / "cmdline"
            ).read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill(workspace: Path, delay_s: float, *, stage: bool) -> None:
    """Start `dvc repro`, and kill it or its stage a moment after it says that the stage runs."""
    with subprocess.Popen(
        REPRO,
        cwd=workspace,
        env=environment() | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as dvc:
        assert dvc.stdout is not None
        for line in dvc.stdout:
            assert "is running on the same inputs" not in line
            if line.startswith("Running stage"):
                break
        time.sleep(delay_s)
        running = [pid for pid in running_in(workspace) if pid != dvc.pid] if stage else []
        for pid in running or [dvc.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        dvc.stdout.close()


def test_killed_at_random_moments_it_ends_in_the_same_bytes(workspace: Path) -> None:
    chance = random.Random(0)
    for index in range(NUM_KILLS):
        delay_s = chance.choice([0.0, 0.05, 0.2, chance.uniform(0.2, 4.0)])
        kill(workspace, delay_s, stage=index % 3 == 2)
    done = subprocess.run(
        REPRO,
        cwd=workspace,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert running_in(workspace) == []
    field = SuiteLayout(workspace, "default").asset("mug").field / "field.safetensors"
    after_kills = field.read_bytes()
    optimize.run(workspace, "default", "mug", CPU)
    assert field.read_bytes() == after_kills
