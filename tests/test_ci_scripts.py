"""The jobs of .github/workflows, run by hand as their scripts.

Stand-ins for what needs a GPU, a remote or GitHub only write down how they were called; the
gate is the real one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .gate.conftest import GATE_YAML, File, made_rows, metrics_file
from .gate.test_metrics import git

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BASE = made_rows(16, 0)


class Repository:
    """A small clone: scripts/ci, params.yaml, one suite with two revisions of its metrics."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.programs = folder / "bin"
        self.calls = folder / "calls.txt"
        self.programs.mkdir()
        (self.folder / "suites" / "toys").mkdir(parents=True)
        (self.folder / "suites" / "toys" / "suite.yaml").write_text("suite: toys\n")
        shutil.copytree(ROOT / "scripts" / "ci", self.folder / "scripts" / "ci")
        (self.folder / "params.yaml").write_text(GATE_YAML)
        git(self.folder, "init", "-q", "-b", "main")
        self.commit(BASE)
        git(self.folder, "checkout", "-qb", "change")
        for name in ("dvc", "make", "gh"):
            self.stand_in(name)

    def commit(self, rows: list[File]) -> None:
        path = self.folder / "suites" / "toys" / "metrics" / "toys.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(metrics_file(rows, suite="toys")))
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-qm", "metrics", "--allow-empty")

    def stand_in(self, name: str, text: str = "") -> None:
        """Put a program on PATH that notes its call, from which folder, and does `text`."""
        program = self.programs / name
        note = f'echo "$(basename "$PWD"): {name} $*" >> {self.calls}'
        program.write_text(f"#!/bin/sh\n{note}\n{text}\n")
        program.chmod(0o755)

    def real_kit(self, suite_run: str = "exit 0") -> None:
        """Put dreamfusion-kit on PATH: the real gate, and a stand-in for `suite run`."""
        real = f'exec env PYTHONPATH={ROOT} {sys.executable} {ROOT}/cli.py "$@"'
        self.stand_in("dreamfusion-kit", f'case "$1" in suite) {suite_run} ;; esac\n{real}')

    def run(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run(
            [str(self.folder / "scripts" / "ci" / script), *arguments],
            cwd=self.folder.parent, capture_output=True, text=True, check=False,
            env=os.environ | {"PATH": path} | variables,
        )  # fmt: skip

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = Repository(tmp_path)
    found.real_kit()
    return found


# ---- gpu-regression.yml


def test_a_pull_request_that_lowers_quality_is_refused(repository: Repository) -> None:
    repository.commit(made_rows(16, 1, drop=0.25))
    done = repository.run("gpu_regression.sh", "main", "toys")
    assert done.returncode == 1
    assert "gate: refused: " in done.stderr
    report = repository.folder / ".work" / "ci" / "gate.md"
    assert report.read_text().startswith("## Quality gate: refused")
    assert "format_version" in (report.parent / "metrics.json").read_text()


def test_one_that_does_not_passes(repository: Repository) -> None:
    repository.commit(made_rows(16, 1))  # the same quality, by another seed
    done = repository.run("gpu_regression.sh", "main", "toys", "reports")
    assert (done.returncode, done.stderr) == (0, "")
    report = repository.folder / "reports" / "gate.md"
    assert report.read_text().startswith("## Quality gate: passed")


def test_the_suite_is_pulled_and_made_in_its_own_project(repository: Repository) -> None:
    repository.stand_in("dvc", '[ "$1" = remote ] && echo "team s3://bucket"; exit 0')
    assert repository.run("gpu_regression.sh", "main", "toys").returncode == 0
    assert repository.called()[:3] == [
        "clone: dvc remote list",
        "toys: dvc pull --run-cache --allow-missing",
        "toys: dvc repro --pull --allow-missing --all-pipelines",
    ]


def test_without_a_remote_nothing_is_pulled(repository: Repository) -> None:
    repository.run("gpu_regression.sh", "main", "toys")
    assert not [call for call in repository.called() if "dvc pull" in call]


def test_the_gate_judges_what_was_made_not_what_was_committed(repository: Repository) -> None:
    """A pull request cannot pass by committing better metrics than its code makes."""
    bad = repository.folder.parent / "bad.json"
    bad.write_text(json.dumps(metrics_file(made_rows(16, 1, drop=0.25), suite="toys")))
    copy = f'[ "$1" = repro ] && cp {bad} metrics/toys.json; exit 0'
    repository.stand_in("dvc", copy)
    repository.commit(BASE)
    assert repository.run("gpu_regression.sh", "main", "toys").returncode == 1


def test_a_failed_repro_leaves_no_older_report(repository: Repository) -> None:
    assert repository.run("gpu_regression.sh", "main", "toys").returncode == 0
    report = repository.folder / ".work" / "ci" / "gate.md"
    assert report.exists()
    repository.stand_in("dvc", '[ "$1" = repro ] && exit 255; exit 0')
    assert repository.run("gpu_regression.sh", "main", "toys").returncode == 255
    assert not report.exists()


@pytest.mark.parametrize("suite", ["none", "../x", "a b", "$(touch stolen)"])
def test_a_suite_that_is_not_there_ends_with_status_2(repository: Repository, suite: str) -> None:
    done = repository.run("gpu_regression.sh", "main", suite)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not [call for call in repository.called() if "dvc" in call]


def test_an_unknown_base_ends_with_status_2(repository: Repository) -> None:
    assert repository.run("gpu_regression.sh", "nowhere", "toys").returncode == 2


# ---- its comment


def test_the_report_becomes_the_comment(repository: Repository) -> None:
    report = repository.folder / "gate.md"
    report.write_text("## Quality gate: passed\n")
    repository.stand_in("gh", 'cat "$5"')
    done = repository.run("comment.sh", "17", str(report))
    assert done.stdout == "## Quality gate: passed\n"
    assert repository.called() == [
        f"bin: gh pr comment 17 --body-file {report} --edit-last --create-if-none".replace(
            "bin", repository.folder.parent.name
        )
    ]


def test_without_a_report_the_comment_says_so(repository: Repository) -> None:
    repository.stand_in("gh", 'cat "$5"')
    done = repository.run("comment.sh", "17", "none.md")
    assert (done.returncode, "no decision" in done.stdout) == (0, True)


def test_a_flood_is_not_posted(repository: Repository) -> None:
    report = repository.folder / "gate.md"
    report.write_text("x" * 60_001)
    assert repository.run("comment.sh", "17", str(report)).returncode == 2
    assert repository.run("comment.sh", "17; true", str(report)).returncode == 2
    assert repository.called() == []


# ---- nightly.yml


def test_the_nightly_run_makes_the_suite_and_compares_it(repository: Repository) -> None:
    done = repository.run("nightly.sh", "toys")
    assert done.returncode == 0
    assert repository.called() == [
        "clone: dreamfusion-kit suite run toys --jobs auto",
        "clone: dreamfusion-kit gate --against HEAD --suite toys --markdown .work/ci/gate.md",
    ]


def test_a_failed_asset_fails_the_night(repository: Repository) -> None:
    repository.real_kit("echo 'red_mug failed'; exit 3")
    done = repository.run("nightly.sh", "toys")
    assert done.returncode == 3
    assert "red_mug failed" in (repository.folder / ".work" / "ci" / "run.log").read_text()
    assert not (repository.folder / ".work" / "ci" / "gate.md").exists()


# ---- ci.yml


@pytest.mark.parametrize("failing", ["", "lint", "test"])
def test_checks_are_lint_and_tests(repository: Repository, failing: str) -> None:
    repository.stand_in("make", f'[ "$1" = "{failing}" ] && exit 2; exit 0')
    repository.stand_in("sudo")
    done = repository.run("check.sh", CI="false")
    assert done.returncode == (2 if failing else 0)
    expected = ["clone: make lint", "clone: make test"]
    assert repository.called() == (expected[:1] if failing == "lint" else expected)


# ---- the workflows themselves; actionlint has the last word on their syntax


def test_there_are_three_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "gpu-regression.yml", "nightly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_on_a_gpu_runner_use_the_gpu(path: Path) -> None:
    """Stages run on the CPU unless told otherwise, and say nothing of the idle GPU."""
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        device = job.get("env", {}).get("DREAMFUSION_DEVICE")
        assert device == ("cuda" if "gpu" in job["runs-on"] else None)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_pinned_bounded_and_modest(path: Path) -> None:
    text = path.read_text()
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    assert "group" in content["concurrency"]
    for uses in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", uses), uses
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 720
        written = {k for k, v in job.get("permissions", {}).items() if v == "write"}
        assert written <= {"pull-requests"}
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            # What a stranger writes reaches a shell through the environment alone.
            assert "${{" not in step.get("run", "")
            for script in re.findall(r"scripts/ci/\S+\.sh", step.get("run", "")):
                assert os.access(ROOT / script, os.X_OK), script


def test_a_self_hosted_machine_runs_no_pull_request_of_a_fork() -> None:
    for path in WORKFLOWS:
        content = yaml.safe_load(path.read_text())
        is_pulled = "pull_request" in content[True]  # YAML 1.1 reads `on` as true
        for job in content["jobs"].values():
            if is_pulled and "self-hosted" in job["runs-on"]:
                assert "head.repo.full_name == github.repository" in job["if"]
                assert "gpu-regression" in job["if"]
