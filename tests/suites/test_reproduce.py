"""An asset made again in a clone."""

import subprocess

import pytest

from .conftest import KIT, SUITE, Workspace

pytestmark = pytest.mark.pipeline

STAGES = ["fetch", "embed", "optimize", "mesh", "evaluate"]


@pytest.fixture(scope="module")
def committed(serial: Workspace) -> Workspace:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], ["commit", "-q", "-m", "made"]):
        subprocess.run(["git", *identity, *command], cwd=serial.path, check=True)
    return serial


def test_the_same_asset_is_made_again(committed: Workspace) -> None:
    done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(": equal (")[0] for line in lines] == STAGES


def test_the_first_file_that_differs_is_named(committed: Workspace) -> None:
    path = committed.suite / "out" / "field" / "ball" / "field.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE)
    finally:
        path.write_bytes(before)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[2:] == ["optimize: out/field/ball/field.safetensors differs"]


def test_what_cannot_be_compared_is_one_line(committed: Workspace) -> None:
    done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--rev", "--nonsense")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a workspace that is committed, and a revision of it" in done.stderr
    done = committed.call(KIT, "reproduce", "nobody", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = committed.call(KIT, "reproduce", "mug")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "written by the optimize stage" in done.stderr
