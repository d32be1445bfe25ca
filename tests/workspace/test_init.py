"""A new workspace is whole, valid and made nowhere that holds something."""

import errno
import subprocess
from pathlib import Path

import pytest
import yaml

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe import check
from dreamfusion_kit.workspace import dvc_project
from dreamfusion_kit.workspace.init import init
from dreamfusion_kit.workspace.sync import sync
from dreamfusion_kit.workspace.upgrade import upgrade

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("recipe", ["toybox", "analytic", "toybox-smoke", "magic3d-toybox"])
def test_a_workspace_is_whole_and_up_to_date(tmp_path: Path, recipe: str) -> None:
    directory = tmp_path / "deep" / "assets"
    said = init(directory, recipe)
    assert said == f"{directory}: a workspace; next: cd {directory} && dvc repro"
    for name in ("params.yaml", "dvc.yaml", "kit.json", "README.md", ".dvc/config", ".dvcignore"):
        assert (directory / name).is_file(), name
    check.check_files(check.workspace_files(directory))
    assert sync(directory, "default") == []
    assert list(upgrade(directory)) == []
    params = yaml.safe_load((directory / "params.yaml").read_text())
    assert params["recipes"] == [recipe]
    assert [asset["recipe"] for asset in params["assets"].values()] == [recipe]
    pipeline = yaml.safe_load((directory / "dvc.yaml").read_text())
    assert pipeline["params"] == ["params.yaml", f"recipes/{recipe}.yaml"]
    made = "refined" if recipe == "magic3d-toybox" else "mesh"
    assert f"`out/{made}/*/mesh.glb`" in (directory / "README.md").read_text()
    assert len((directory / "README.md").read_text().splitlines()) <= 12
    assert "$" not in (directory / "params.yaml").read_text()
    with kit_file.unchanged(directory, "default", "score", None):
        pass


def test_a_pretrained_prior_is_told_to_need_a_gpu_and_a_prompt(tmp_path: Path) -> None:
    directory = tmp_path / "my assets"
    assert init(directory, "sd21") == (
        f"{directory}: a workspace; next: cd '{directory}'; edit the prompt in params.yaml; "
        "DREAMFUSION_DEVICE=cuda dvc repro"
    )


def test_its_recipes_are_the_shipped_ones(tmp_path: Path) -> None:
    init(tmp_path / "new", "toybox")
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert (tmp_path / "new" / "recipes" / path.name).read_bytes() == path.read_bytes()


def test_it_is_a_git_repository(tmp_path: Path) -> None:
    init(tmp_path / "new", "analytic")
    assert (tmp_path / "new" / ".git").is_dir()
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall"],
        cwd=tmp_path / "new",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "?? params.yaml" in listed
    assert ".work" not in listed
    assert "no_scm" not in (tmp_path / "new" / ".dvc" / "config").read_text()


def test_inside_a_git_repository_it_uses_that(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    init(tmp_path / "new", "analytic")
    assert not (tmp_path / "new" / ".git").exists()
    assert "no_scm" not in (tmp_path / "new" / ".dvc" / "config").read_text()


def test_a_folder_with_an_empty_repository_is_empty(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    init(tmp_path, "analytic")
    assert (tmp_path / "params.yaml").is_file()


def test_without_git_it_says_so_to_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_project.shutil, "which", lambda _: None)
    init(tmp_path / "new", "analytic")
    assert not (tmp_path / "new" / ".git").exists()
    assert "no_scm = true" in (tmp_path / "new" / ".dvc" / "config").read_text()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(DreamFusionKitError) as caught:
        init(tmp_path, "toybox")
    assert str(caught.value) == (
        f"{tmp_path}: found thesis.tex, expected a new or empty folder; choose another, or move "
        "what is there"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_takes_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /proc does: the parent is there, and yet the folder cannot be made."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DreamFusionKitError, match="expected a place where a folder can be made"):
        init(tmp_path / "new", "toybox")


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(DreamFusionKitError, match="found a file, expected a new or empty folder"):
        init(path, "toybox")


@pytest.mark.parametrize("recipe", ["toybix", "../toybox", "", "recipe.schema", "$(touch x)"])
def test_an_unknown_recipe_is_refused_and_nothing_made(tmp_path: Path, recipe: str) -> None:
    with pytest.raises(DreamFusionKitError, match="no such recipe"):
        init(tmp_path / "new", recipe)
    assert not (tmp_path / "new").exists()
