"""The plugin in real pytest processes, in a folder that has no conftest of ours."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import GATE_YAML, File, asset_row, metrics_file
from .test_metrics import git

ROOT = Path(__file__).parents[2]
HITS = {"red_mug": "11111111", "blue_car": "11110111"}
ROWS = {asset: asset_row(hits) for asset, hits in HITS.items()}
NUM_METRICS, NUM_VIEWS = 3, 4


@pytest.fixture
def project(workspace: Path) -> Path:
    """Return a workspace with metrics, pictures and a test of its own that fails."""
    return made(workspace)


@pytest.fixture
def stored(template: Path, tmp_path: Path) -> Path:
    """Return a workspace whose expected files match its metrics and pictures."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with its expected files, stored once: every run of pytest takes a second."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "params.yaml").write_text(GATE_YAML)
    done = run(made(folder), "--dreamfusion-suite", "default", "--regen-all", "-q")
    assert done.returncode == 0, done.stdout
    return folder


def made(folder: Path) -> Path:
    write(folder, ROWS)
    for asset in ROWS:
        for view in range(8):
            paint(folder, asset, view, shade=100 + 10 * view)
    (folder / "test_own.py").write_text("def test_own():\n    assert False\n")
    return folder


def write(folder: Path, rows: dict[str, File]) -> None:
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics" / "default.json").write_text(json.dumps(metrics_file(rows)))


def paint(folder: Path, asset: str, view: int, *, shade: int) -> None:
    path = folder / "out" / "default" / "evaluation" / asset / "views" / f"color_{view:02d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), shade, dtype=np.uint8)).save(path)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user would: the entry point loads the plugin, or else -p does."""
    installed = entry_points(group="pytest11", name="dreamfusion_kit")
    options = (
        *(() if installed else ("-p", "dreamfusion_kit.gate.pytest_plugin")),
        "-p",
        "no:dash",
        "-p",
        "no:cacheprovider",
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", *options, *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def counts(done: subprocess.CompletedProcess[str]) -> str:
    """Return pytest's last line, without its time."""
    return done.stdout.strip().splitlines()[-1].strip("= ").partition(" in ")[0]


def test_the_first_run_stores_and_the_second_passes(project: Path) -> None:
    number = 2 * (NUM_METRICS + NUM_VIEWS)
    first = run(project, "--dreamfusion-suite", "default")
    assert counts(first) == f"{number} failed"  # as with every file of pytest-regressions
    second = run(project, "--dreamfusion-suite", "default", "-v")
    assert (second.returncode, counts(second)) == (0, f"{number} passed")
    for name in ("test_metric[red_mug-r_precision.color]", "test_view[blue_car-06]"):
        assert f"regression/default::{name} PASSED" in second.stdout
    files = {path.relative_to(project).as_posix() for path in (project / "regression").rglob("*.*")}
    assert len(files) == number
    assert "regression/default/red_mug/r_precision-color.csv" in files
    assert "regression/default/blue_car/view_06.png" in files


def test_a_fall_fails_and_is_regenerated(stored: Path) -> None:
    write(stored, ROWS | {"red_mug": asset_row("11100000")})
    failed = run(stored, "--dreamfusion-suite", "default")
    assert counts(failed) == "1 failed, 13 passed"
    assert "test_metric[red_mug-r_precision.color]" in failed.stdout
    assert counts(run(stored, "--dreamfusion-suite", "default", "--force-regen")).startswith("1 f")
    assert counts(run(stored, "--dreamfusion-suite", "default")) == "14 passed"


def test_a_move_within_the_spread_passes(stored: Path) -> None:
    """Two deviations of 0.1: one view of eight, 0.125, is within."""
    write(stored, ROWS | {"red_mug": asset_row("11111110")})
    assert counts(run(stored, "--dreamfusion-suite", "default")) == "14 passed"


def test_a_changed_picture_fails(stored: Path) -> None:
    paint(stored, "red_mug", 2, shade=250)
    paint(stored, "red_mug", 3, shade=250)  # not a key view
    failed = run(stored, "--dreamfusion-suite", "default")
    assert counts(failed) == "1 failed, 13 passed"
    assert "test_view[red_mug-02]" in failed.stdout


def test_what_vanishes_fails(stored: Path) -> None:
    write(stored, {"red_mug": asset_row("11111111", iou=None)})
    (stored / "out/default/evaluation/red_mug/views/color_00.png").unlink()
    failed = run(stored, "--dreamfusion-suite", "default")
    assert "red_mug: iou: it is not measured, but the baseline has it" in failed.stdout
    assert "blue_car: iou: the suite has no such asset, but the baseline has it" in failed.stdout
    assert "red_mug: found no picture of view 0; run `dvc pull`" in failed.stdout
    assert counts(failed) == "5 failed, 5 passed"


def test_against_a_revision_nothing_but_metrics_are_needed(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "metrics", "params.yaml")
    git(project, "commit", "-qm", "good")
    write(project, ROWS | {"red_mug": asset_row("01100000"), "new": asset_row("0")})
    done = run(project, "--dreamfusion-suite", "default", "--dreamfusion-baseline", "HEAD")
    # Views 0, 4 and 6 of the mug lost their caption; view 2 kept it.
    assert counts(done) == "4 failed, 10 passed"
    assert not (project / "regression").exists()
    file = project / "good.json"
    file.write_text(json.dumps(metrics_file(ROWS)))
    same = run(project, "--dreamfusion-suite", "default", "--dreamfusion-baseline", "good.json")
    assert counts(same) == "4 failed, 10 passed"


def test_junit_and_xdist(stored: Path) -> None:
    write(stored, ROWS | {"red_mug": asset_row("11100000")})
    done = run(stored, "--dreamfusion-suite", "default", "--junitxml", "junit.xml", "-n", "2")
    assert counts(done) == "1 failed, 13 passed"
    cases = ET.parse(stored / "junit.xml").getroot().findall(".//testcase")
    assert len(cases) == 14
    (failed,) = [case for case in cases if case.find("failure") is not None]
    assert failed.get("name") == "test_metric[red_mug-r_precision.color]"
    assert failed.get("classname") == "regression.default"


def test_cases_are_collected_in_one_order(stored: Path) -> None:
    arguments = ("--dreamfusion-suite", "default", "--collect-only", "-q")
    first = run(stored, *arguments).stdout.splitlines()[:-1]  # the last line has the time
    assert len(first) > 14
    write(stored, dict(reversed(ROWS.items())))
    assert run(stored, *arguments).stdout.splitlines()[:-1] == first


def test_the_project_s_own_tests_run_where_they_are_named(stored: Path) -> None:
    done = run(stored, "--dreamfusion-suite", "default", "test_own.py")
    assert counts(done) == "1 failed, 14 passed"


def test_without_its_options_it_is_inert(project: Path) -> None:
    (project / "test_own.py").write_text(
        "import sys\n\ndef test_own():\n"
        "    heavy = {'torch', 'numpy', 'pydantic', 'scipy', 'dreamfusion_kit.gate.suite_plan'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    plain = (
        "-p",
        "no:regressions",
        "-p",
        "no:xdist",
        "-p",
        "no:jaxtyping",
        "-p",
        "no:hypothesispytest",
    )
    assert counts(run(project, *plain)) == "1 passed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dreamfusion-baseline", "HEAD"], "expected --dreamfusion-suite with it"),
        (["--dreamfusion-suite", "toys"], "suites/toys/metrics/toys.json: found no file"),
        (
            ["--dreamfusion-suite", "default", "--dreamfusion-baseline", "nowhere"],
            "revision 'nowhere': not found",
        ),
        (
            ["--dreamfusion-suite", "default", "--dreamfusion-baseline", "x.json", "--force-regen"],
            "earlier metrics cannot be regenerated",
        ),
        (
            ["--dreamfusion-suite", "default", "-p", "no:regressions"],
            "found no pytest-regressions; pip install",
        ),
    ],
)
def test_errors_of_use_are_one_line(project: Path, arguments: list[str], message: str) -> None:
    done = run(project, *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_workspace_without_gate_says_what_is_missing(project: Path) -> None:
    (project / "params.yaml").write_text(GATE_YAML.replace("gate:", "gat:"))
    done = run(project, "--dreamfusion-suite", "default")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "found no gate: block" in done.stderr


def test_the_entry_point_and_its_extra_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "dreamfusion_kit": "dreamfusion_kit.gate.pytest_plugin"
    }
    needed = " ".join(project["optional-dependencies"]["gate"])
    assert "pytest>=" in needed
    assert "pytest-regressions[image,num]>=" in needed
