"""One run of a suite at a time, and an end by signal."""

import signal
import threading
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.run_guard import only_run, stopped_by_signals


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    second = only_run(tmp_path, "tiny")
    with (
        only_run(tmp_path, "tiny"),
        pytest.raises(SuiteError, match="suite tiny: another run of it is at work"),
    ):
        second.__enter__()
    with only_run(tmp_path, "tiny"), only_run(tmp_path, "another"):
        pass


def test_sigterm_ends_a_run_as_an_interrupt_and_its_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_signals_alone() -> None:
    """Python lets only the main thread set a handler."""
    inside: list[object] = []

    def run() -> None:
        with stopped_by_signals():
            inside.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]
