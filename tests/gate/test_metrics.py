import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate import metrics as module
from dreamfusion_kit.gate.metrics import (
    MAX_BYTES,
    parse,
    read_against,
    read_file,
    read_revision,
    read_workspace,
)

from .conftest import asset_row, metrics_file


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, content: str, path: str = "metrics/default.json") -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "metrics")


def test_rows_are_read() -> None:
    rows = [asset_row("1101")]
    found = parse(json.dumps(metrics_file(rows)).encode(), "x")
    row = found.assets["a000"]
    assert row.value("r_precision.color") == 0.75
    assert row.value("nothing") is None
    assert row.hits == "1101"
    assert row.cosines == (0.9, 0.9, 0.6, 0.9)
    assert found.machine == {"device": "cpu"}


def test_counts_and_truths_are_numbers() -> None:
    row = asset_row("1")
    row["metrics"] |= {"components": 2, "watertight": True}
    found = parse(json.dumps(metrics_file([row])).encode(), "x").assets["a000"]
    assert (found.value("components"), found.value("watertight")) == (2.0, 1.0)


def test_a_suite_without_a_judge_has_no_views() -> None:
    row = asset_row("1")
    absent = {"hit": None, "rank": None, "cosine": []}
    rows = [{**row, "views": None}, {**row, "views": absent}]
    content = metrics_file(rows, judge=None, caption_pool=None)
    for found in parse(json.dumps(content).encode(), "x").assets.values():
        assert (found.hits, found.cosines) == ("", ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"^f\.json: not JSON"),
        (b"[" * 100_000, r"^f\.json: not JSON"),
        (b"[]", r"^f\.json: found format version None, expected 2"),
        (b'{"r_precision": {}}', r"^f\.json: found format version 1, expected 2.*dvc repro"),
        (b"x" * (MAX_BYTES + 1), r"^f\.json: found more than"),
        (b"\xff\xfe", r"^f\.json: not JSON"),
    ],
)
def test_other_files_are_one_line(content: bytes, message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as error:
        parse(content, "f.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"assets": {"../x": asset_row("1")}}, "assets"),
        ({"assets": {"..": asset_row("1")}}, "assets"),
        ({"assets": {"a": {**asset_row("1"), "views": {"hit": "12"}}}}, "assets.a.views.hit"),
        ({"assets": {"a": {**asset_row("1"), "metrics": {"iou": "0.7"}}}}, "assets.a.metrics.iou"),
        ({"judge": "clip"}, "judge"),
    ],
)
def test_each_problem_is_a_line_with_its_key(change: dict, key: str) -> None:
    with pytest.raises(EvaluationError) as error:
        parse(json.dumps(metrics_file([]) | change).encode(), "f.json")
    assert all(line.startswith(f"f.json: {key}") for line in str(error.value).splitlines())


def test_not_a_number_is_refused() -> None:
    text = json.dumps(metrics_file([asset_row("1", iou=float("nan"))]))
    with pytest.raises(EvaluationError, match=r"f\.json"):
        parse(text.encode(), "f.json")


def test_workspace_and_its_fallback(workspace: Path) -> None:
    with pytest.raises(EvaluationError, match=r"suites/toys/metrics/toys\.json: found no file"):
        read_workspace(workspace, "toys")
    text = json.dumps(metrics_file([asset_row("1")]))
    (workspace / "metrics").mkdir()
    (workspace / "metrics" / "toys.json").write_text(text)
    assert "a000" in read_workspace(workspace, "toys").assets
    own = workspace / "suites" / "toys" / "metrics" / "toys.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(metrics_file({"own": asset_row("1")})))
    assert "own" in read_workspace(workspace, "toys").assets


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        read_file(tmp_path / "none.json")


def test_revisions_of_a_workspace_in_a_folder(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    inner = tmp_path / "kit"
    commit(tmp_path, json.dumps(metrics_file({"old": asset_row("1")})), "kit/metrics/default.json")
    commit(tmp_path, json.dumps(metrics_file({"new": asset_row("1")})), "kit/metrics/default.json")
    git(tmp_path, "tag", "release")
    assert "old" in read_revision(inner, "default", "HEAD~1").assets
    assert "new" in read_against(inner, "default", "release").assets
    file = inner / "metrics" / "default.json"
    assert "new" in read_against(inner, "default", str(file)).assets


@pytest.mark.parametrize("revision", ["nowhere", "--help", "", "HEAD:x", "-", "@{9}", "a b"])
def test_an_unknown_revision_is_one_line(tmp_path: Path, revision: str) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "{}")
    with pytest.raises(EvaluationError, match=r"^revision .*not found") as error:
        read_revision(tmp_path, "default", revision)
    assert "\n" not in str(error.value)


def test_an_option_never_reaches_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--output=FILE would make `git show` write a file."""
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "{}")
    with pytest.raises(EvaluationError):
        read_revision(tmp_path, "default", "--output=stolen")
    assert not (tmp_path / "stolen").exists()


def test_a_revision_without_metrics_is_one_line(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "text", "readme")
    with pytest.raises(EvaluationError, match=r"HEAD:metrics/default\.json: not in that revision"):
        read_revision(tmp_path, "default", "HEAD")


def test_without_git_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_metrics: Callable[[dict], Path]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvaluationError, match="expected Git"):
        module.read_revision(tmp_path, "default", "HEAD")
