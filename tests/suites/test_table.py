"""What a run reports while it is in progress."""

import pytest

from dreamfusion_kit.suites.table import ProgressTable
from dreamfusion_kit.suites.worker import Failed, Finished, Message, Progress, StageDone, Started

STORY: list[Message] = [
    Started("a", "optimize"),
    Progress("a", 0, 100),
    Started("b", "embed"),
    Progress("a", 50, 100),
    Failed("b", "embed", "no such recipe\nand more"),
    Finished("b"),
    StageDone("a", "optimize"),
    Finished("a"),
]


def test_without_a_terminal_there_is_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressTable(2, stream_is_terminal=False) as table:
        for message in STORY:
            table.tell(message)
        table.say("a word")
    assert capsys.readouterr().err.splitlines() == [
        "a: optimize",
        "b: embed",
        "b: embed failed: no such recipe",
        "b: failed (1/2)",
        "a: made (2/2)",
        "a word",
    ]


def test_on_a_terminal_it_ends_with_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressTable(2, stream_is_terminal=True) as table:
        for message in STORY:
            table.tell(message)
        table.say("[bold]a word")
    shown = capsys.readouterr().err
    assert "2 of 2 done, 1 failed" in shown
    assert "[bold]a word" in shown


def test_the_time_left_follows_the_steps_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    table = ProgressTable(1, stream_is_terminal=False)
    table.tell(Started("a", "optimize"))
    table.tell(Progress("a", 60, 100))  # resumed: these sixty cost nothing now
    now += 30
    table.tell(Progress("a", 70, 100))
    assert (table._rows["a"].steps, table._rows["a"].left) == ("70/100", "1:30")
    table.tell(Started("a", "mesh"))
    assert table._rows["a"].left == ""


def test_a_death_before_the_first_word_is_no_trouble() -> None:
    table = ProgressTable(1, stream_is_terminal=False)
    table.tell(Finished("never begun"))
