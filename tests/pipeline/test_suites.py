"""Suites as DVC projects of their own, remotes, and what a fresh clone has of both."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ASSET_STAGES, ASSETS, Clone, contents, copy_of, stages

pytestmark = pytest.mark.pipeline

PAIR = "suites/pair"


@pytest.fixture(scope="module")
def pair(sources: Path, stand_in_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a workspace with a remote, and with the suite `pair`, made and committed."""
    folder = tmp_path_factory.mktemp("pair")
    clone = copy_of(sources, stand_in_program, folder)
    clone.dvc("remote", "add", "-q", "-d", "store", str(folder / "store"))
    assert stages(*ASSETS) <= clone.repro()
    clone.kit("suite", "new", "pair")
    for asset, prompt in (("ball", "a red ball"), ("007", "a blue cone")):
        clone.kit("suite", "add", asset, prompt, "--recipe", "analytic", "--suite", "pair")
    ran = clone.repro(folder=PAIR)
    assert _of_assets("ball", "007") | {"score", "report"} <= ran
    clone.commit()
    return clone


def _of_assets(*assets: str) -> set[str]:
    return {f"assets/{asset}/dvc.yaml:{stage}" for asset in assets for stage in ASSET_STAGES}


def test_one_command_makes_every_asset_and_then_nothing(pair: Clone) -> None:
    assert pair.repro(folder=PAIR) == set()
    assert pair.dvc("status", folder=PAIR).split() == ["kit:", "always", "changed"]
    for asset in ("ball", "007"):
        assert (pair.path / PAIR / "out/mesh" / asset / "mesh.glb").is_file()
    assert (pair.path / PAIR / "metrics/pair.json").is_file()


def test_the_root_neither_reads_nor_mentions_it(pair: Clone) -> None:
    for command in (("status",), ("repro",), ("stage", "list"), ("params", "diff"), ("pull",)):
        done = pair.call(sys.executable, "-m", "dvc", *command)
        if command != ("pull",):  # nothing was pushed yet: the root's own outputs are here
            assert done.returncode == 0, done.stderr
        assert "pair" not in done.stdout + done.stderr
        assert "ball" not in done.stdout + done.stderr
    listed = pair.dvc("stage", "list", "--name-only").split()
    assert len(listed) == len(stages(*ASSETS)) + 5


def test_an_edit_of_an_asset_reruns_it_and_what_sums_up(pair: Clone) -> None:
    pair.edit(f"{PAIR}/assets/ball/asset.yaml", "prompt: .*", "prompt: a green ball")
    assert pair.repro(folder=PAIR) == _of_assets("ball") | {"score", "report"}
    pair.edit(f"{PAIR}/assets/ball/asset.yaml", "overrides: .*", "overrides: {mesh.max_faces: 300}")
    mesh = {f"assets/ball/dvc.yaml:{stage}" for stage in ("mesh", "evaluate")}
    assert pair.repro(folder=PAIR) == mesh | {"score", "report"}
    pair.edit(f"{PAIR}/suite.yaml", "overrides: .*", "overrides: {guidance.guidance_scale: 2.0}")
    assert _of_assets("ball", "007") <= pair.repro(folder=PAIR)
    pair.commit()


def test_one_asset_can_be_made_alone(pair: Clone) -> None:
    pair.edit(f"{PAIR}/suite.yaml", "guidance_scale: .*", "guidance_scale: 4.0}")
    ran = pair.repro("assets/ball/dvc.yaml", folder=PAIR)
    assert ran == _of_assets("ball")
    assert _of_assets("007") <= pair.repro(folder=PAIR)
    pair.commit()


def test_seeds_make_each_asset_once_per_seed(pair: Clone) -> None:
    pair.kit("suite", "new", "seeds")
    pair.edit("suites/seeds/suite.yaml", "^seeds: null", "seeds: [3, 5]")
    pair.kit("suite", "add", "ball", "a red ball", "--recipe", "analytic", "--suite", "seeds")
    ran = pair.repro(folder="suites/seeds")
    assert {
        f"assets/ball/dvc.yaml:{stage}_s{seed}" for stage in ASSET_STAGES for seed in (3, 5)
    } <= ran
    assert pair.repro(folder="suites/seeds") == set()


def test_a_pipeline_of_other_assets_is_refused(pair: Clone) -> None:
    """As after an edit by hand: the command that mends it is named, and mends it."""
    pair.run("git", "checkout", "-q", ".")
    pair.dvc("checkout", "-q", folder=PAIR)
    pair.edit(f"{PAIR}/assets/ball/dvc.yaml", "mesh ball", "mesh 007")
    done = pair.call(sys.executable, "-m", "dvc", "repro", folder=PAIR)
    assert done.returncode != 0
    assert "run `dreamfusion-kit upgrade --suite pair`" in done.stderr
    pair.kit("upgrade", "--suite", "pair")
    assert pair.repro(folder=PAIR) == set()


def test_a_fresh_clone_pulls_everything(
    pair: Clone, stand_in_program: Path, tmp_path: Path
) -> None:
    """Also after an asset was removed: neither folder nor lock remembers it."""
    pair.kit("suite", "add", "gone", "a pink cone", "--recipe", "analytic")
    pair.kit("suite", "add", "gone", "a pink cone", "--recipe", "analytic", "--suite", "pair")
    for folder in (".", PAIR):
        pair.repro(folder=folder)
    pair.kit("suite", "rm", "gone")
    pair.kit("suite", "rm", "gone", "--suite", "pair")
    for folder in (".", PAIR):
        pair.repro(folder=folder)
        pair.dvc("push", "-q", folder=folder)
    pair.commit()
    fresh = copy_of(pair.path, stand_in_program, tmp_path)
    for folder in (".", PAIR):
        done = fresh.call(sys.executable, "-m", "dvc", "pull", folder=folder)
        assert done.returncode == 0, done.stderr
        assert fresh.dvc("status", folder=folder).split() == ["kit:", "always", "changed"]
        assert fresh.repro(folder=folder) == set()
        tracked = {
            name: content
            for name, content in contents(pair.path / folder / "out").items()
            if not name.startswith("cost/")
        }
        assert contents(fresh.path / folder / "out") == tracked
        assert not [name for name in tracked if "gone" in name]
    changes = fresh.run("git", "status", "--porcelain")
    assert changes == ""


def test_a_pull_at_the_root_needs_nothing_of_other_suites(
    pair: Clone, stand_in_program: Path, tmp_path: Path
) -> None:
    """A remote that holds the default suite alone, as somebody's own one does."""
    source = copy_of(pair.path, stand_in_program, tmp_path / "source")
    source.dvc("remote", "add", "-q", "-f", "-d", "store", str(tmp_path / "own"))
    source.dvc("config", "-q", "cache.dir", str(pair.path / ".dvc" / "cache"))
    source.dvc("push", "-q")
    shutil.rmtree(tmp_path / "empty", ignore_errors=True)
    source.dvc("config", "-q", "cache.dir", str(tmp_path / "empty"))
    assert not list((source.path / "out").glob("*"))
    pulled = source.call(sys.executable, "-m", "dvc", "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert "pair" not in pulled.stdout + pulled.stderr
    assert source.dvc("status").split() == ["kit:", "always", "changed"]


def test_two_branches_that_each_add_an_asset_merge(pair: Clone) -> None:
    main = pair.run("git", "branch", "--show-current").strip()
    pair.run("git", "checkout", "-q", "--", ".")
    for branch in ("one", "two"):
        pair.run("git", "checkout", "-q", "-b", branch, main)
        pair.kit("suite", "add", branch, "a red cone", "--recipe", "analytic", "--suite", "pair")
        pair.repro(f"assets/{branch}/dvc.yaml", folder=PAIR)
        files = [f"{PAIR}/assets/{branch}", f"{PAIR}/dvc.yaml"]
        pair.run("git", "add", *files)
        pair.run("git", "commit", "-q", "-m", branch)
        pair.run("git", "checkout", "-q", "--", ".")
    pair.run("git", "merge", "-q", "--no-edit", "one")
    ran = pair.repro(folder=PAIR)
    assert not ran & (_of_assets("one", "two"))
    assert {f"assets/{name}/dvc.yaml" for name in ("one", "two")} <= {
        f"assets/{path.parent.name}/dvc.yaml"
        for path in (pair.path / PAIR / "assets").glob("*/dvc.lock")
    }
    pair.run("git", "checkout", "-q", "-f", main)


def test_git_lists_no_output(pair: Clone) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "out", f"{PAIR}/out", ".work", f"{PAIR}/.work"],
        cwd=pair.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout == ""
