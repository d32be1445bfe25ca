"""What reruns when: through real DVC, with the kit's own `sync` and stages that cost nothing.

The tests share one clone. Each makes an edit of its own and leaves everything up to date.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ASSETS, WEIGHTS, Clone, stages

pytestmark = pytest.mark.pipeline

SUITE = {"score", "report"}
EVALUATE = {f"evaluate@{asset}" for asset in ASSETS} | SUITE
MESH = {f"mesh@{asset}" for asset in ASSETS} | EVALUATE
OPTIMIZE = {f"optimize@{asset}" for asset in ASSETS} | MESH
EMBED = stages(*ASSETS) | SUITE
FETCH = {"fetch@analytic", "fetch_clip"}
FIRST = stages("first") | SUITE
SECOND = stages("second") | SUITE

CONSTANT = (r"\Z", "\nADDED = 1\n")  # at the end of a module
CODE = "dreamfusion_kit"


def test_a_second_repro_runs_nothing(quick: Clone) -> None:
    assert quick.repro() == set()
    assert quick.dvc("status").split() == ["kit:", "always", "changed"]


@pytest.mark.parametrize(
    ("file", "pattern", "new", "expected"),
    [
        (f"{CODE}/report/gallery.py", *CONSTANT, {"report"}),
        (f"{CODE}/report/templates/style.css", r"\Z", "/* another style */\n", {"report"}),
        (f"{CODE}/stages/score.py", *CONSTANT, SUITE),
        (f"{CODE}/evaluation/views.py", *CONSTANT, EVALUATE),
        (f"{CODE}/mesh/extract.py", *CONSTANT, MESH),
        (f"{CODE}/optimize/loop.py", *CONSTANT, OPTIMIZE),
        (f"{CODE}/guidance/view_prompts.py", *CONSTANT, EMBED),
        (f"{CODE}/files.py", *CONSTANT, FETCH | EMBED),
        (f"{CODE}/errors.py", r"\Z", "# a remark\n", set()),
        (f"{CODE}/mesh/extract.py", r'\A"""', '"""Edited. ', set()),
        (f"{CODE}/stages/doctor.py", *CONSTANT, set()),
        ("recipes/analytic.yaml", r"\Z", "# a remark\n", set()),
        ("recipes/analytic.yaml", r"texture_size_px: \d+", "texture_size_px: 48", MESH),
        ("recipes/analytic.yaml", r"opacity_lambda: .*", "opacity_lambda: 0.002", OPTIMIZE),
        ("recipes/analytic.yaml", r"negative_prompt: .*", "negative_prompt: ugly", EMBED),
        (
            "recipes/analytic.yaml",
            r"^  image_size_px: 16\n\nguidance",
            "  image_size_px: 8\n\nguidance",
            EMBED | {"fetch@analytic"},
        ),
        ("params.yaml", r"^#.*\n|\Z", "# a remark\n", set()),
        ("params.yaml", r"prompt: a red mug", "prompt: a red ball", FIRST),
        (
            "params.yaml",
            r"(second:\n(?:.*\n){2}    seed:) 0",
            r"\1 1",
            SECOND - {"embed@second"},
        ),
        (
            "params.yaml",
            r"(first:\n(?:.*\n){3}    overrides:) {}",
            r"\1 {mesh.texture_size_px: 32}",
            {"mesh@first", "evaluate@first"} | SUITE,
        ),
        (
            "params.yaml",
            r"(second:\n(?:.*\n){3}    overrides:) {}",
            r"\1 {optimize.num_steps: 25}",
            SECOND - {"embed@second"},
        ),
        ("params.yaml", r'"num_azimuths": 2,', '"num_azimuths": 3,', EVALUATE),
        ("params.yaml", r'"path": "judge"', '"path": "./judge"', {"fetch_clip"} | EVALUATE),
    ],
    ids=[
        "code of the gallery",
        "template of the gallery",
        "code of the summary",
        "code of the evaluation",
        "code of the mesh",
        "code of the loop",
        "code of the prompts",
        "code of all stages",
        "comment in code",
        "docstring",
        "code of no stage",
        "comment in a recipe",
        "mesh section",
        "optimize section",
        "negative prompt",
        "prior section",
        "comment in params.yaml",
        "prompt",
        "seed",
        "override of the mesh",
        "override of the loop",
        "protocol",
        "judge",
    ],
)
def test_an_edit_reruns(
    quick: Clone, file: str, pattern: str, new: str, expected: set[str]
) -> None:
    quick.edit(file, pattern, new)
    assert quick.repro() == expected


def test_the_judge_of_sides_reruns_the_evaluation(quick: Clone) -> None:
    (quick.path / WEIGHTS / "view" / "added.json").write_text("{}")
    assert quick.repro() == EVALUATE


def test_a_formatter_reruns_nothing(quick: Clone) -> None:
    """The whole package in another layout, with other quotes and with a comment more."""
    before = (quick.path / "kit.json").read_bytes()
    package = quick.path / CODE
    options = ["--isolated", "--line-length", "60", "--config", "format.quote-style='single'"]
    quick.run(sys.executable, "-m", "ruff", "format", *options, str(package))
    changed = subprocess.run(
        ["git", "diff", "--stat", CODE], cwd=quick.path, capture_output=True, text=True, check=True
    )
    assert changed.stdout.count("\n") > 100
    for path in package.rglob("*.py"):
        path.write_text("# A licence.\n" + path.read_text())
    assert quick.repro() == set()
    assert (quick.path / "kit.json").read_bytes() == before


def test_an_asset_is_added_and_removed(quick: Clone) -> None:
    lock = (quick.path / "dvc.lock").read_text()
    metrics = (quick.path / "metrics" / "default.json").read_bytes()
    quick.kit("suite", "add", "third", "a red cone", "--recipe", "analytic")
    assert quick.repro() == stages("third") | SUITE
    quick.kit("suite", "rm", "third")
    assert quick.repro() == set()  # DVC has seen this score and this gallery before
    assert (quick.path / "metrics" / "default.json").read_bytes() == metrics
    assert not list((quick.path / "out").glob("*/third*"))
    assert _entries((quick.path / "dvc.lock").read_text()) == _entries(lock)


def test_a_parameter_of_an_experiment_is_shown_and_reruns(quick: Clone) -> None:
    quick.commit()
    ran = quick.dvc("exp", "run", "--temp", "-S", "recipes/analytic.yaml:guidance.timestep_max=0.9")
    assert set(re.findall(r"Running stage '([^']+)'", ran)) == EMBED | {"kit"}
    name = re.search(r"Ran experiment\(s\): (\S+)", ran)
    assert name is not None
    rows = quick.dvc("params", "diff", "HEAD", name[1])
    assert re.search(r"recipes/analytic.yaml +guidance.timestep_max +0.98 +0.9", rows)
    quick.edit("recipes/analytic.yaml", "timestep_max: 0.98", "timestep_max: 0.97")
    rows = quick.dvc("params", "diff")  # before anything has run
    assert re.search(r"recipes/analytic.yaml +guidance.timestep_max +0.98 +0.97", rows)
    assert quick.repro() == EMBED


def test_a_stage_alone_is_refused_where_kit_json_is_behind(quick: Clone, kit_program: Path) -> None:
    """`-s` leaves out the stage `kit`: DVC would record the digest of other inputs."""
    real = Clone(quick.path, kit_program)
    assert real.call(sys.executable, "-m", "dvc", "repro", "-s", "kit").returncode == 0
    before = (quick.path / "dvc.lock").read_bytes()
    for file, pattern, new, stage in (
        ("recipes/analytic.yaml", r"^  guidance_scale: .*", "  guidance_scale: 7.0", "embed@first"),
        ("recipes/analytic.yaml", r"^  image_size_px: 8\n\ng|^  image_size_px: 16\n\ng",
         "  image_size_px: 4\n\ng", "fetch@analytic"),
        ("params.yaml", r'"confidence_level": [0-9.]+', '"confidence_level": 0.5', "score"),
        ("params.yaml", r'"path": "[^"]*judge"', '"path": "././judge"', "fetch_clip"),
        (f"{CODE}/mesh/extract.py", *CONSTANT, "mesh@first"),
    ):  # fmt: skip
        quick.edit(file, pattern, new)
        done = real.call(sys.executable, "-m", "dvc", "repro", "-s", "-f", stage)
        assert done.returncode != 0
        assert "run `dreamfusion-kit sync`" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert (quick.path / "dvc.lock").read_bytes() == before
    quick.repro()


def _entries(lock: str) -> set[str]:
    return set(re.findall(r"^  (\S+):$", lock, re.MULTILINE))
