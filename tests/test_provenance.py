"""The record of where a result comes from, and what it must not contain."""

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dreamfusion_kit import provenance

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")


def git(directory: Path, *arguments: str) -> str:
    finished = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return finished.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "tracked").write_text("one")
    git(tmp_path, "add", "tracked")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def make() -> provenance.Provenance:
    return provenance.record(
        device=torch.device("cpu"), code="0" * 64, inputs={"b": "2" * 64, "a": "1" * 64}
    )


def cost(workspace: Path) -> provenance.StageCost:
    return provenance.stage_cost(workspace=workspace, device=torch.device("cpu"), seconds=12.34567)


def test_the_record_says_what_computed() -> None:
    record = make()
    assert record["python"] == platform.python_version()
    assert record["packages"]["torch"] == torch.__version__
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["machine"]["device"] == "cpu"
    assert record["code"] == "0" * 64
    assert list(record["inputs"].items()) == [("a", "1" * 64), ("b", "2" * 64)]


def test_the_record_holds_no_clock_and_the_cost_does(checkout: Path) -> None:
    """What is tracked is the same after the same work."""
    assert make() == make()
    assert set(make()) == {"python", "packages", "code", "machine", "inputs"}
    found = cost(checkout)
    assert found["seconds"] == 12.346
    assert found["peak_memory_bytes"] > 0


def test_the_peak_grows_by_what_is_held() -> None:
    """In a process of its own, since a peak never falls: imports set one that a block passes."""
    code = (
        "import torch; from dreamfusion_kit import provenance as p; cpu = torch.device('cpu');"
        "one = torch.ones(100_000_000); before = p._peak_memory_bytes(cpu);"
        "two = torch.ones(100_000_000);"
        "print(p._peak_memory_bytes(cpu) - before)"
    )
    block = torch.ones(400_000_000)  # what starts the process holds more, and does not count
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert len(block) == 400_000_000
    assert int(finished.stdout) == pytest.approx(4e8, rel=0.1)


def test_the_commit_and_whether_it_tells_the_truth(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert cost(checkout)["commit"] == {"hash": head, "dirty": False}
    (checkout / "untracked").write_text("an output")
    assert cost(checkout)["commit"] == {"hash": head, "dirty": False}
    (checkout / "tracked").write_text("two")
    assert cost(checkout)["commit"] == {"hash": head, "dirty": True}


def test_a_file_whose_name_is_no_text_counts_as_well(checkout: Path) -> None:
    """With core.quotePath false Git prints such names as they are."""
    git(checkout, "config", "core.quotePath", "false")
    name = os.fsdecode(b"caf\xe9")
    (checkout / name).write_text("one")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "two")
    (checkout / name).write_text("two")
    found = cost(checkout)["commit"]
    assert found is not None
    assert found["dirty"]


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert cost(tmp_path)["commit"] is None


def test_nothing_private_is_recorded(checkout: Path) -> None:
    text = json.dumps([make(), cost(checkout)])
    assert str(checkout) not in text
    assert str(Path.home()) not in text
    assert "/" not in text.replace(make()["machine"]["cpu"], "")
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_a_cpu_is_read_from_linux(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.0: fast\nflags\t\t: fpu avx2 fma\n\n"
        "processor\t: 1\nmodel name\t: Other\nflags\t\t: fpu\n"
    )
    model, flags = provenance._cpu(cpuinfo)
    assert model == "Some CPU @ 2.0: fast"
    assert flags == {"fpu", "avx2", "fma"}


def test_where_there_is_no_cpuinfo_the_model_is_still_named(tmp_path: Path) -> None:
    model, flags = provenance._cpu(tmp_path / "absent")
    assert model
    assert flags == frozenset()
