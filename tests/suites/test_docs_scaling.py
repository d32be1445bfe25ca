"""The commands of docs/scaling.md, run on this machine: as by a serial `dvc repro`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import fake_slurm
from .conftest import ROOT, SUITE, Workspace, contents, environment

pytestmark = pytest.mark.pipeline

PAGE = ROOT / "docs" / "scaling.md"
BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENVIRONMENT = {
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "test",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "test@example.org",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-this-test-alone",
}


def test_a_suite_over_ray_and_slurm(serial: Workspace, fresh: Workspace, tmp_path: Path) -> None:
    """Its assets are an optimised and an imported one."""
    setup, ray, slurm = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    workspace = fresh
    shutil.copy(ROOT / "dvc.yaml", workspace.path)  # which `upgrade` compares with the newest
    programs = tmp_path / "bin"
    fake_slurm.install(programs)
    kit = programs / "dreamfusion-kit"
    kit.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dreamfusion_kit "$@"\n')
    kit.chmod(0o755)
    there = environment() | ENVIRONMENT | {"FAKE_SLURM": str(tmp_path / "slurm")}
    there["PATH"] = f"{programs}{os.pathsep}{there['PATH']}"

    def run(commands: str) -> str:
        commands = commands.replace("animals", SUITE)
        commands = commands.replace("s3://bucket/dvc", str(tmp_path / "remote"))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=workspace.path,
            env=there,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def check() -> None:
        assert workspace.locks() == serial.locks()
        assert contents(workspace.suite / "out") == contents(serial.suite / "out")

    run(setup)
    assert run(ray) == "2 made, 0 failed\n"
    check()
    shutil.rmtree(workspace.suite / "out" / "mesh")
    assert run(slurm) == "2 made, 0 failed\n"
    check()
    assert workspace.repro().count("Running stage") == 1  # `kit`, which always runs
    scripts = [path.read_text() for path in (tmp_path / "slurm").glob("*.sh")]
    assert len(scripts) == 2
    for option in ("partition=gpu\n", "time=600\n", "cpus-per-task=1\n", "mem="):
        assert all(f"#SBATCH --{option}" in script for script in scripts)
