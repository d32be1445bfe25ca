"""The driver's side of workers elsewhere: orders, what it takes over, and what it refuses."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites import needs, remote_crew
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.plan import AssetPlan, StageState
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.site import Handed, Order
from dreamfusion_kit.suites.worker import Finished, Job, Message

from .conftest import SUITE, Workspace, make_workspace

HEAD = b"schema: '2.0'\nstages:\n"
LOG = Path("dvc.log")
OUTS = {"embed": "out/text/ball.safetensors", "mesh": "out/run/ball/mesh.json"}


def _entry(stage: str, content: bytes) -> bytes:
    """Return a stage's lock entry as DVC writes it, with the hash of its output."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return (
        f"  {stage}:\n    cmd: {stage}\n    outs:\n    - path: {OUTS[stage]}\n"
        f"      hash: md5\n      md5: {digest}\n      size: {len(content)}\n"
    ).encode()


class Loopback(RemoteCrew):
    """A crew whose messages the test puts in."""

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace, SUITE, device="cpu", run_stage=lambda *_: None)
        self.orders: list[Order] = []
        self.said: list[tuple[Worker, Message | Died | Handed]] = []
        self.ended = 0
        self.refuses = False

    def _start(self) -> None:
        self.workers.append(Worker(self._setting))
        if self.refuses:
            raise SuiteError("no room")

    def _send(self, worker: Worker, order: Order) -> None:
        self.orders.append(order)

    def _messages(self) -> Iterator[tuple[Worker, Message | Died | Handed]]:
        said, self.said = self.said, []
        yield from said

    def _stop(self) -> None:
        self.ended += 1

    @property
    def token(self) -> Path:
        return self._token


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "workspace", {"ball": "a red ball"})


@pytest.fixture
def dvc(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """Note DVC's commands instead of running them."""
    calls: list[tuple[str, tuple[str, ...]]] = []

    def note(name: str) -> object:
        return lambda root, targets, log: calls.append((name, tuple(targets)))

    commands = SimpleNamespace(push=note("push"), pull=note("pull"))
    monkeypatch.setattr(remote_crew, "dvc_commands", commands)
    monkeypatch.setattr(remote_crew.snapshot, "take", lambda workspace, name: None)
    monkeypatch.setattr(needs, "of_suite", lambda *_, **__: SimpleNamespace(cpus=3))
    return calls


def _plan(*reasons: str) -> AssetPlan:
    stages = ("embed", "optimize", "mesh", "evaluate")
    states = tuple(StageState(stage, reason) for stage, reason in zip(stages, reasons, strict=True))
    return AssetPlan("ball", "ball", states)


def _prepared(made: Workspace, plan: AssetPlan) -> Loopback:
    crew = Loopback(made.path)
    crew.prepare(load_suite(made.path, SUITE), [plan], LOG)
    return crew


def test_what_the_workers_need_is_uploaded_first(
    made: Workspace, dvc: list[tuple[str, Sequence[str]]]
) -> None:
    _prepared(made, _plan("", "", "inputs changed", "after mesh"))
    own = [f"assets/ball/dvc.yaml:{stage}" for stage in ("embed", "optimize")]
    assert dvc == [("push", (*own, "fetch_analytic", "fetch_clip"))]


def test_an_order_brings_both_locks_and_what_is_not_recorded_yet(
    made: Workspace, dvc: object
) -> None:
    own = made.suite / "assets" / "ball" / "dvc.lock"
    own.write_bytes(HEAD + b"  optimize:\n    cmd: before\n")
    (made.suite / "dvc.lock").write_bytes(HEAD + b"  fetch_clip:\n    cmd: fetch\n")
    crew = _prepared(made, _plan("not made yet", *["after"] * 3))
    with crew:
        (worker,) = crew.idle()
        crew.said = [(worker, Handed("ball", {"embed": _entry("embed", b"text")}, {}, b""))]
        assert list(crew.hear()) == []
        job = Job("ball", ("mesh",), LOG)
        crew.give(worker, job)
        assert crew.idle() == []
    (order,) = crew.orders
    assert order.job == job
    name = own.relative_to(made.path).as_posix()
    assert order.locks[name] == own.read_bytes() + _entry("embed", b"text")
    assert order.locks[f"suites/{SUITE}/dvc.lock"] == (made.suite / "dvc.lock").read_bytes()


def test_workers_end_and_the_token_goes_whatever_happens(made: Workspace, dvc: object) -> None:
    crew = _prepared(made, _plan("not made yet", *["after"] * 3))
    with crew:
        assert crew.token.is_file()
    assert (crew.ended, crew.token.exists()) == (1, False)
    crew.refuses = True
    with pytest.raises(SuiteError, match="no room"):
        crew.__enter__()
    assert (crew.ended, crew.token.exists()) == (2, False)


def test_costs_and_logs_are_taken_over_and_other_names_refused(
    made: Workspace, dvc: object
) -> None:
    crew = _prepared(made, _plan("not made yet", *["after"] * 3))
    with crew:
        (worker,) = crew.workers
        costs = {"embed.json": b"{}", "../../kit.json": b"no", "a/b.json": b"no", "x.py": b"no"}
        crew.said = [
            (worker, Handed("ball", {}, costs, b"one\n")),
            (worker, Handed("ball", {}, {}, b"two\n")),
            (worker, Finished("ball")),
        ]
        assert [message for _, message in crew.hear()] == [Finished("ball")]
    written = [path for path in (made.suite / "out" / "cost").rglob("*") if path.is_file()]
    assert written == [made.suite / "out" / "cost" / "ball" / "embed.json"]
    assert (made.logs / "ball.log").read_text() == "one\ntwo\n"


def test_recording_splices_the_entries_and_pulls_their_outputs(
    made: Workspace, dvc: list[tuple[str, Sequence[str]]]
) -> None:
    crew = _prepared(made, _plan("not made yet", *["after"] * 3))
    entries = {stage: _entry(stage, stage.encode()) for stage in OUTS}
    with crew:
        crew.said = [(crew.workers[0], Handed("ball", entries, {}, b""))]
        assert list(crew.hear()) == []
    output = made.suite / OUTS["embed"]
    output.parent.mkdir(parents=True)
    output.write_bytes(b"embed")  # as `dvc pull` would
    crew.record(["ball"], ["assets/ball/dvc.yaml:embed"], LOG)
    lock = made.suite / "assets" / "ball" / "dvc.lock"
    assert lock.read_bytes() == HEAD + entries["embed"]  # mesh is not recorded yet
    assert dvc[-1] == ("pull", ("assets/ball/dvc.yaml:embed",))


def test_an_output_that_is_not_as_recorded_is_refused_and_removed(
    made: Workspace, dvc: object
) -> None:
    crew = _prepared(made, _plan("not made yet", *["after"] * 3))
    with crew:
        handed = Handed("ball", {"embed": _entry("embed", b"text")}, {}, b"")
        crew.said = [(crew.workers[0], handed)]
        assert list(crew.hear()) == []
    output = made.suite / OUTS["embed"]
    output.parent.mkdir(parents=True)
    output.write_bytes(b"other")
    with pytest.raises(SuiteError, match="is not what its lock records"):
        crew.record(["ball"], ["assets/ball/dvc.yaml:embed"], LOG)
    assert not output.exists()
