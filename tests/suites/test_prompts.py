"""Prompts that are hostile to shells, YAML, HTML and terminals, through real DVC."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from .conftest import SUITE, Workspace, environment, make_workspace

pytestmark = pytest.mark.pipeline

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
ACCEPTED = {
    "shell": "a \"red\" 'mug' \\ $(touch touched) `touch touched`; touch touched | %(x)s",
    "template": "a mug ${assets} ${{ x }} {{ 7 * 7 }} {0} <b onclick=alert(1)>it</b> &amp; # - !!",
    "scripts": f"כוס אדומה, كوب أحمر, 👩\u200d🚀 {ENGLAND} a red mug",
}
REFUSED = {
    "of 10,000 characters": "mug " * 2500,
    "with a newline": "a red mug\n- touched",
    "with a return": "a red mug\rowned",
    "with an escape sequence": "a red mug\x1b[2J",
    "with a NUL": "a red\0mug",
    "that reorders the text": "a red \u202emug",
    "of nothing": "",
}


def repro(workspace: Workspace, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *targets],
        cwd=workspace.suite,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_hostile_prompts_are_only_text(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace", ACCEPTED, judged=False)
    done = repro(workspace, *(f"assets/{asset}/dvc.yaml:embed" for asset in ACCEPTED))
    assert done.returncode == 0, done.stderr
    for asset, prompt in ACCEPTED.items():
        path = workspace.suite / "out" / "text" / f"{asset}.safetensors"
        with safe_open(path, framework="pt") as features:
            views = json.loads(features.metadata()["prompts"]).values()
        assert any(prompt in text for text in views)
    made = workspace.run()
    assert (made.returncode, made.stdout) == (0, "3 made, 0 failed\n"), made.stderr
    assert not list(tmp_path.rglob("touched"))
    locks = "".join(workspace.locks().values())
    assert "mug" not in locks, "no prompt stands in a lock, whose commands a shell reads"


@pytest.mark.parametrize("kind", REFUSED)
def test_other_prompts_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    workspace = make_workspace(tmp_path / "workspace", {"mug": "a red mug"})
    own = workspace.suite / "assets" / "mug" / "asset.yaml"
    text = own.read_text().replace("a red mug", json.dumps(REFUSED[kind]))
    own.write_text(text)
    done = workspace.run()
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"suites/{SUITE}/assets/mug/asset.yaml:1: ")
    assert lines[0].isprintable()
    assert len(lines[0]) <= 1000
    assert not list(tmp_path.rglob("touched"))
