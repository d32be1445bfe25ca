"""Half-written locks are undone: after a failed commit at once, after a killed one later."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dreamfusion_kit.suites.lock_journal import LockJournal


@pytest.fixture
def journal(tmp_path: Path) -> LockJournal:
    (tmp_path / "a.lock").write_text("before\n")
    return LockJournal(tmp_path, "tiny")


def test_a_commit_that_succeeds_leaves_its_own_locks(journal: LockJournal, tmp_path: Path) -> None:
    with journal.kept([tmp_path / "a.lock"]):
        (tmp_path / "a.lock").write_text("after\n")
    assert journal.recover() == []
    assert (tmp_path / "a.lock").read_text() == "after\n"


def test_a_commit_that_fails_leaves_what_was_there(journal: LockJournal, tmp_path: Path) -> None:
    def fails() -> None:
        with journal.kept([tmp_path / "a.lock", tmp_path / "b"]):
            (tmp_path / "a.lock").write_text("aft")
            (tmp_path / "b").write_text("")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fails()
    assert (tmp_path / "a.lock").read_text() == "before\n"
    assert not (tmp_path / "b").exists()
    assert not journal.path.exists()


def test_a_killed_commit_is_undone_once_it_is_gone(tmp_path: Path, journal: LockJournal) -> None:
    """The driver is killed first; `recover` waits for the program that still writes."""
    writer = "import sys, time; time.sleep(1); open('a.lock', 'w').write('aft'); time.sleep(0.5)"
    driver = textwrap.dedent(f"""
        import os, signal, subprocess, sys
        from pathlib import Path
        from dreamfusion_kit.suites.lock_journal import LockJournal
        with LockJournal(Path(), "tiny").kept([Path("a.lock")]) as held:
            subprocess.Popen([sys.executable, "-c", {writer!r}], pass_fds=(held,))
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", driver], cwd=tmp_path, check=False)
    assert journal.recover() == [tmp_path / "a.lock"]
    assert (tmp_path / "a.lock").read_text() == "before\n"
    assert journal.recover() == []


def test_without_a_commit_there_is_nothing_to_undo(journal: LockJournal) -> None:
    assert journal.recover() == []
