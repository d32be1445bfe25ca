"""Disks that are full or read-only, damaged files, others' files, clocks: one line, nothing lost.

Kills are in test_kills.py.
"""

import ctypes
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dreamfusion_kit.workspace import sync

from .conftest import (
    FAKE,
    HANG_S,
    KIT,
    SUITE,
    Workspace,
    assert_as_undisturbed,
    contents,
    environment,
    share,
    wait_until,
)

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl and capabilities"),
]

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


@pytest.fixture
def made(undisturbed: Workspace, tmp_path: Path) -> Workspace:
    """Return a copy of a made workspace."""
    path = tmp_path / "made"
    shutil.copytree(undisturbed.path, path, symlinks=True)
    return Workspace(path)


def lock_of(workspace: Workspace, asset: str) -> Path:
    return workspace.suite / "assets" / asset / "dvc.lock"


def make_stale(workspace: Workspace, *assets: str) -> None:
    for asset in assets:
        shutil.rmtree(workspace.suite / "out" / "mesh" / asset)


def run_without_privileges(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    """Run the suite as a user whom the modes of files bind, even if that is root."""

    def drop() -> None:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    done = subprocess.run(
        [sys.executable, str(FAKE), SUITE, *arguments],
        cwd=workspace.path,
        env=environment(),
        preexec_fn=drop,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Take the right to write in these folders, and everything below."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    before = {path: path.lstat().st_mode for path in paths if not path.is_symlink()}
    for path, mode in before.items():
        path.chmod(stat.S_IMODE(mode) & ~0o222)
    try:
        yield
    finally:
        for path, mode in before.items():
            path.chmod(stat.S_IMODE(mode))


@pytest.mark.parametrize("content", [b"", b"schema: '2.0'\nstages:\n  embed:\n    cm", b"\0\0\0"])
def test_a_half_written_lock_is_refused_before_the_work(
    made: Workspace, undisturbed: Workspace, content: bytes
) -> None:
    lock_of(made, "ball").write_bytes(content)
    make_stale(made, "cube")
    done = made.run()
    assert done.returncode == 1, done.stderr
    first, problem = done.stdout.splitlines()
    assert first == "1 made, 1 failed"
    assert problem.startswith(f"ball: suites/{SUITE}/assets/ball/dvc.lock: damaged, expected")
    assert not (made.logs / "ball.log").read_text().count("embed of ball") > 1
    lock_of(made, "ball").unlink()
    done = made.run()
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert_as_undisturbed(made, undisturbed)


def test_a_half_written_lock_of_the_suite_is_one_line(made: Workspace) -> None:
    lock = made.suite / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[:30])
    done = made.run()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"suites/{SUITE}/dvc.lock: damaged, expected a lock")


def test_a_pipeline_with_a_merge_conflict_is_one_line(made: Workspace) -> None:
    pipeline = made.suite / "assets" / "ball" / "dvc.yaml"
    text = pipeline.read_text()
    pipeline.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> owl\n")
    done = made.run()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"suites/{SUITE}/assets/ball/dvc.yaml: found a pipeline of other")
    assert f"upgrade --suite {SUITE}`" in done.stderr


@pytest.mark.parametrize("content", [b"", b'{"/a": {"wri'])
def test_a_half_written_rwlock_of_a_killed_dvc_is_removed(made: Workspace, content: bytes) -> None:
    rwlock = made.suite / ".dvc" / "tmp" / "rwlock"
    rwlock.write_bytes(content)
    make_stale(made, "ball")
    done = made.run()
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert "removed .dvc/tmp/rwlock" in done.stderr


def test_a_read_only_cache_costs_only_the_record(made: Workspace, undisturbed: Workspace) -> None:
    make_stale(made, "ball", "cube")
    shutil.rmtree(made.path / ".dvc" / "cache" / "files")
    with read_only(made.path / ".dvc" / "cache"):
        status, out, err = run_without_privileges(made)
    assert status == 1, err
    assert "Traceback" not in out + err
    first, *problems = out.splitlines()
    assert first == "0 made, 2 failed"
    assert sorted(line.partition(": ")[0] for line in problems) == ["ball", "cube"]
    assert all("dvc commit: failed (" in line for line in problems)
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert_as_undisturbed(made, undisturbed)


@pytest.mark.parametrize("place", ["out", "assets", ".dvc"])
def test_files_of_another_user_are_one_line_each(
    made: Workspace, undisturbed: Workspace, place: str
) -> None:
    make_stale(made, "ball", "cube")
    with read_only(made.suite / place):
        status, out, err = run_without_privileges(made)
    assert status in (1, 2), err
    assert "Traceback" not in out + err
    if status == 1:
        assert out.startswith("0 made, 2 failed\n")
        assert len(out.splitlines()) == 3
        assert "ermission denied" in out
    else:
        assert err.count("\n") == 1
        assert "ermission denied" in err
    assert made.workers() == []
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert_as_undisturbed(made, undisturbed)


def as_user(number: int) -> list[str]:
    """Return a program that starts another as this user, who may read whatever root may."""
    capabilities = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    ids = [f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    return ["setpriv", *ids, *capabilities, "env", f"HOME=/tmp/nobody-{number}"]


def can_become_another() -> bool:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return False
    return subprocess.run([*as_user(65534), sys.executable, "-c", ""], check=False).returncode == 0


@pytest.mark.skipif(not can_become_another(), reason="only root starts programs as other users")
def test_two_users_share_a_workspace(undisturbed: Workspace) -> None:
    """Both may write there, as a team's group may: one at a time, and each goes on from the other.

    Users who may not write are above.
    """
    with TemporaryDirectory() as folder:  # not pytest's, which is root's alone
        shared = Workspace(Path(folder, "workspace"))
        shutil.copytree(undisturbed.path, shared.path, symlinks=True)
        make_stale(shared, "ball", "cube")
        for path in (Path(folder), *Path(folder).rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o666 | (0o111 if path.is_dir() else 0))

        def start(user: int, *options: str | Path) -> subprocess.Popen[str]:
            return shared.start(FAKE, SUITE, *options, through=as_user(user), umask=0)

        go = Path(folder, "go")
        one, other = (pwd.getpwnam(name).pw_uid for name in ("daemon", "nobody"))
        first = start(one, "--asset", "ball", "--until", go)
        wait_until(lambda: list(shared.logs.glob("*.running")), first)
        second = start(other)
        _, err = second.communicate(timeout=HANG_S)
        assert (second.returncode, err.count("\n")) == (2, 1), err
        assert "another run of it is at work" in err
        go.touch()
        out, err = first.communicate(timeout=HANG_S)
        assert (first.returncode, out) == (0, "1 made, 0 failed\n"), err
        third = start(other)  # only now: a suite has one run at a time
        out, err = third.communicate(timeout=HANG_S)
        assert (third.returncode, out) == (0, "1 made, 0 failed\n"), err
        owners = [
            (shared.suite / "out" / "mesh" / asset / "file.txt").stat().st_uid
            for asset in ("ball", "cube")
        ]
        assert owners == [one, other]
        assert_as_undisturbed(shared, undisturbed)


def test_a_clock_set_back_hides_no_change(made: Workspace, undisturbed: Workspace) -> None:
    """What was made is then from the future, and what is edited is older than what came of it."""
    tomorrow = time.time() + 86_400
    for path in made.path.rglob("*"):
        if path.is_file():
            os.utime(path, (tomorrow, tomorrow))
    done = made.run()
    assert (done.returncode, done.stdout) == (0, "0 made, 0 failed\n"), done.stderr
    own = made.suite / "assets" / "ball" / "asset.yaml"
    before = own.stat()
    own.write_text(own.read_text().replace("seed: 0", "seed: 1"))
    os.utime(own, ns=(before.st_atime_ns, before.st_mtime_ns))  # and of the same size
    sync.sync(made.path, SUITE)
    done = made.run()
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert made.locks() != undisturbed.locks()
    own.write_text(own.read_text().replace("seed: 1", "seed: 0"))
    yesterday = time.time() - 86_400
    os.utime(own, (yesterday, yesterday))
    done = made.run()
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert_as_undisturbed(made, undisturbed)


def test_a_damaged_object_in_the_cache_is_not_taken_for_an_output(
    made: Workspace, undisturbed: Workspace, tmp_path: Path
) -> None:
    """DVC trusts its cache: what is pulled from elsewhere is compared with the lock."""
    share(made, str(tmp_path / "remote"))
    mesh = made.suite / "out" / "mesh" / "ball" / "file.txt"
    (damaged,) = (
        path
        for path in (made.path / ".dvc" / "cache" / "files").rglob("*")
        if path.is_file() and path.read_bytes() == mesh.read_bytes()
    )
    make_stale(made, "ball")
    damaged.chmod(0o644)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    damaged.chmod(0o444)
    for _ in range(2):  # it is not taken for made the next time, either
        done = made.run("--slurm", "local", "--jobs", "1")
        assert done.returncode == 1, done.stderr
        assert "out/mesh/ball: is not what its lock records" in done.stdout
    damaged.unlink()
    done = made.run("--slurm", "local", "--jobs", "1")
    assert (done.returncode, done.stdout) == (0, "1 made, 0 failed\n"), done.stderr
    assert_as_undisturbed(made, undisturbed)


@pytest.mark.parametrize(
    ("is_first", "problem"),
    [(False, ".work/locks-tiny.json: File too large"), (True, "dvc commit")],
)
def test_a_full_disk_while_locks_are_written(
    made: Workspace, undisturbed: Workspace, is_first: bool, problem: str
) -> None:
    """What the stages write fits; the copy of an asset's lock does not, or the first lock."""
    assert made.run().returncode == 0  # a copy is brought in sync first
    size_bytes = lock_of(made, "ball").stat().st_size - 1
    make_stale(made, "ball")
    if is_first:
        lock_of(made, "ball").unlink()
    before = made.locks()
    limited = (
        "import resource, runpy, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size_bytes}, resource.RLIM_INFINITY)); "
        f"sys.argv = ['fake_suite.py', '{SUITE}']; "
        f"runpy.run_path({str(FAKE)!r}, run_name='__main__')"
    )
    done = made.call("-c", limited)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2), done.stderr
    assert done.stdout.startswith(f"0 made, 1 failed\nball: {problem}")
    assert "Traceback" not in done.stderr
    assert made.locks() == before
    assert list(made.suite.rglob("*.partial")) == []
    done = made.run()
    made_now = int(is_first)  # else the outputs are already those that the lock names
    assert (done.returncode, done.stdout) == (0, f"{made_now} made, 0 failed\n"), done.stderr
    assert_as_undisturbed(made, undisturbed)


@pytest.mark.parametrize(
    ("command", "size_bytes"),
    [("evaluate ball", 1000), ("score", 100), ("report", 50_000)],
)
def test_a_full_disk_keeps_what_was_there(serial: Workspace, command: str, size_bytes: int) -> None:
    """A limit on the size of files stands for a full disk: the writes fail in the same places."""
    before = contents(serial.suite / "out")
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size_bytes}, resource.RLIM_INFINITY)); "
        f"sys.argv = ['cli.py', *'{command} --suite {SUITE}'.split()]; "
        "from dreamfusion_kit.cli import main; main()"
    )
    done = serial.call("-c", limited)
    assert done.returncode == 2, done.stderr
    assert "File too large; raise the limit" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert contents(serial.suite / "out") == before
    assert list(serial.suite.rglob("*.partial")) == []
    again = serial.call(KIT, *command.split(), "--suite", SUITE)
    assert again.returncode == 0, again.stderr
    assert contents(serial.suite / "out") == before
