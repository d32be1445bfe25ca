"""What the terminal shows, and the curves' files after any number of kills."""

import csv
import json
import math
from pathlib import Path

import pytest

from dreamfusion_kit.optimize.metrics import METRIC_NAMES, StepMetrics, from_tensor, to_tensor
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, CurveMonitor, Monitors
from dreamfusion_kit.optimize.shares import GradientNorms


def metrics(step: int) -> StepMetrics:
    norms = GradientNorms(0.1, 0.2, 0.1 * step, 0.0, 0.0, 0.0, 0.0) if step % 3 == 0 else None
    return StepMetrics(math.sin(step) ** 2, 0.1 * step, 1 / (step + 1), 1e-12, 0.5, norms)


HISTORY = [metrics(step) for step in range(12)]


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def run(directory: Path, *, first: int, last: int, finish: bool) -> None:
    monitor = CurveMonitor(directory)
    monitor.start(HISTORY[:first], len(HISTORY))
    for step in range(first, last):
        monitor.step(step, HISTORY[step])
    if finish:
        monitor.finish()


def test_each_step_stands_once_with_its_exact_value(tmp_path: Path) -> None:
    run(tmp_path, first=0, last=12, finish=True)
    for name in METRIC_NAMES:
        with (tmp_path / "plots" / "metrics" / f"{name}.tsv").open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert list(rows[0]) == ["step", name]  # no clock: the file is part of a hashed output
        assert [int(row["step"]) for row in rows] == list(range(12))
        assert [float(row[name]) for row in rows] == [getattr(m, name) for m in HISTORY]
    assert json.loads((tmp_path / "metrics.json").read_text())["step"] == 11


def test_shares_stand_at_the_steps_where_they_were_measured(tmp_path: Path) -> None:
    run(tmp_path, first=0, last=12, finish=True)
    found = {path.stem for path in (tmp_path / "plots" / "metrics").iterdir()}
    assert found == {*METRIC_NAMES, "guidance_weights_norm", "share_opacity"}
    with (tmp_path / "plots" / "metrics" / "share_opacity.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(int(r["step"]), float(r["share_opacity"])) for r in rows] == [
        (step, pytest.approx(0.5 * step)) for step in (3, 6, 9)
    ]


def test_a_killed_run_that_is_resumed_leaves_the_same_files(tmp_path: Path) -> None:
    run(tmp_path / "whole", first=0, last=12, finish=True)
    run(tmp_path / "killed", first=0, last=7, finish=False)  # rows past the checkpoint at 5
    run(tmp_path / "killed", first=5, last=9, finish=False)
    with (tmp_path / "killed" / "plots" / "metrics" / "opacity.tsv").open("a") as file:
        file.write("9\t0.")  # cut off within a row
    run(tmp_path / "killed", first=5, last=12, finish=True)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_the_workspace_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "live", first=0, last=3, finish=True)
    assert [path.name for path in tmp_path.iterdir()] == ["live"]


def test_history_survives_a_checkpoint_to_the_bit() -> None:
    assert from_tensor(to_tensor(HISTORY)) == HISTORY
    assert from_tensor(to_tensor([])) == []


def test_plain_lines_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleMonitor("red_mug", stream_is_terminal=False) as monitor:
        monitor.start(HISTORY[:4], 100)
        for step in range(4, 100):
            monitor.step(step, metrics(step))
        monitor.note("a note")
        monitor.finish()
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "red_mug: resuming at step 4 of 100"
    assert len(lines) == 1 + 20 + 1
    assert lines[1].startswith("red_mug: step 5/100  opacity ")
    assert all(part in lines[1] for part in ("gradient 2.00e-01", "s/step", "left"))
    assert lines[-2].endswith("0:00 left")
    assert lines[-1] == "red_mug: a note"


def test_a_terminal_gets_one_moving_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleMonitor("[red]", stream_is_terminal=True) as monitor:
        monitor.start([], 3)
        for step in range(3):
            monitor.step(step, metrics(step))
        monitor.finish()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "[red]" in shown.err  # a name is text, never markup


def test_several_monitors_hear_the_same(tmp_path: Path) -> None:
    both = Monitors(CurveMonitor(tmp_path / "a"), CurveMonitor(tmp_path / "b"))
    both.start([], 2)
    both.step(0, metrics(0))
    both.note("heard")
    both.step(1, metrics(1))
    both.finish()
    assert files(tmp_path / "a") == files(tmp_path / "b")
