"""What is committed when, and what a failing commit affects."""

import threading
from collections.abc import Sequence

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.recorder import Recorder


class Commits:
    """Takes note of commits; the first waits until `go`, and a target with `bad` fails."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, assets: Sequence[str], targets: Sequence[str]) -> None:
        assert {target.partition(":")[0] for target in targets} == set(assets)
        self.calls.append(list(targets))
        self.begun.set()
        assert self.go.wait(300)
        if any("bad" in target for target in targets):
            raise SuiteError(f"dvc commit: failed ({targets[0]})")


def test_cheap_stages_wait_for_the_next_dear_one() -> None:
    commits = Commits()
    commits.go.set()
    with Recorder(commits) as recorder:
        recorder.note("a", "embed", "a:embed")
        assert not commits.begun.wait(0.05)
        recorder.note("a", "optimize", "a:optimize")
        assert commits.begun.wait(300)
    assert commits.calls == [["a:embed", "a:optimize"]]


def test_what_finishes_during_a_commit_is_committed_together() -> None:
    commits = Commits()
    with Recorder(commits) as recorder:
        recorder.note("a", "evaluate", "a:evaluate")
        assert commits.begun.wait(300)
        recorder.note("b", "evaluate", "b:evaluate")
        recorder.note("c", "optimize", "c:optimize")
        commits.go.set()
    assert commits.calls == [["a:evaluate"], ["b:evaluate", "c:optimize"]]


def test_one_asset_that_cannot_be_committed_spoils_no_other() -> None:
    commits = Commits()
    with Recorder(commits) as recorder:
        recorder.note("a", "evaluate", "a:evaluate")
        assert commits.begun.wait(300)
        recorder.note("bad", "evaluate", "bad:evaluate")
        recorder.note("c", "evaluate", "c:evaluate")
        commits.go.set()
    assert recorder.failures == {"bad": "dvc commit: failed (bad:evaluate)"}
    assert commits.calls[1:] == [["bad:evaluate", "c:evaluate"], ["bad:evaluate"], ["c:evaluate"]]


def test_an_interrupted_run_still_commits_what_is_done() -> None:
    commits = Commits()
    commits.go.set()

    def interrupted() -> None:
        with Recorder(commits) as recorder:
            recorder.note("a", "embed", "a:embed")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert commits.calls == [["a:embed"]]
