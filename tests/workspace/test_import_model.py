"""`import`: the suite that it makes, what it pins, and that a refusal leaves nothing behind."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import trimesh

from dreamfusion_kit.errors import DreamFusionKitError, MeshError, RecipeError
from dreamfusion_kit.mesh.imported import convert, parse
from dreamfusion_kit.mesh.imported.convert import ImportRecord
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.workspace import import_model
from dreamfusion_kit.workspace.dvc_project import make_project
from dreamfusion_kit.workspace.import_model import Reading
from dreamfusion_kit.workspace.pipeline import stale_pipelines


@pytest.fixture(autouse=True)
def _quick(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Make the workspace a DVC project, and do in this process what others take seconds for."""
    make_project(workspace)
    if "real" in request.fixturenames:
        return

    def in_process(folder: Path, section: ImportSection, model: Path, size: int) -> ImportRecord:
        return convert.convert(folder, section, texture_size_px=size, shown_as=model).record

    def read(folder: Path, file: str, *, shown_as: Path) -> RawModel:
        try:
            return parse.read_model(folder, file)
        except parse.RefusedError as error:
            raise MeshError(f"{shown_as}: {error}") from None

    monkeypatch.setattr(convert, "read_raw", read)
    monkeypatch.setattr(import_model, "_trial", in_process)
    monkeypatch.setattr(import_model, "_track", lambda *_: None)


@pytest.fixture
def real() -> None:
    """Leave everything as it is: processes of their own, and DVC."""


def box(folder: Path, name: str = "box.stl") -> Path:
    trimesh.creation.box((10, 20, 30)).export(folder / name)
    return folder / name


def add(workspace: Path, model: Path, suite: str = "imported", **changes: object) -> str:
    asked = {"prompt": "a grey box", "recipe": "analytic", "reading": Reading(), **changes}
    return import_model.import_model(workspace, suite, "box", model, **asked)


def everything(workspace: Path) -> set[str]:
    return {
        path.as_posix() for path in workspace.rglob("*") if not {".dvc", ".work"} & set(path.parts)
    }


def test_the_asset_pins_a_copy_of_the_file(workspace: Path, tmp_path: Path) -> None:
    model = box(tmp_path)
    said = add(workspace, model, reading=Reading(up="y", front="x"))
    assert "12 faces" in said
    assert "0.03 m" in said  # an STL's unit is a millimetre
    suite = check_suite(workspace, "imported")
    imported = suite.assets["box"].imported
    assert imported is not None
    assert imported.files == {"model.stl": hashlib.sha256(model.read_bytes()).hexdigest()}
    assert (imported.up, imported.front) == ("y", "x")
    assert suite.recipes == ()
    assert stale_pipelines(workspace, suite) == []
    folder = workspace / "suites/imported/assets/box"
    assert (folder / "source/model.stl").read_bytes() == model.read_bytes()
    assert "out/field" not in (workspace / "suites/imported/dvc.yaml").read_text()
    assert "source" in (folder / "dvc.yaml").read_text()


@pytest.mark.usefixtures("real")
def test_the_file_is_tracked_by_dvc_and_ignored_by_git(workspace: Path, tmp_path: Path) -> None:
    add(workspace, box(tmp_path))
    folder = workspace / "suites/imported/assets/box"
    assert "path: source" in (folder / "source.dvc").read_text()
    assert (folder / ".gitignore").read_text().split() == ["/source"]


@pytest.mark.usefixtures("real")
def test_what_cannot_be_read_is_one_line(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    with pytest.raises(MeshError, match=r"a\.obj: found no faces") as caught:
        add(workspace, tmp_path / "a.obj")
    assert len(str(caught.value).splitlines()) == 1


def test_what_the_file_says_is_part_of_the_identity(workspace: Path, tmp_path: Path) -> None:
    add(workspace, box(tmp_path))
    before = resolve(workspace, "imported", "box").identity
    path = workspace / "suites/imported/assets/box/asset.yaml"
    path.write_text(path.read_text().replace("up: z", "up: x"))
    assert resolve(workspace, "imported", "box").identity != before


@pytest.mark.parametrize(
    ("name", "content", "changes", "said"),
    [
        ("box.obj", "v 0 0 0\n", {}, "no faces"),
        ("box.fbx", "x", {}, "expected one of glb"),
        ("box.stl", None, {"suite": "default"}, "another suite"),
        ("box.stl", None, {"suite": "../x"}, "expected a name of"),
        ("box.stl", None, {"recipe": "nothing"}, "found no"),
        ("box.stl", None, {"prompt": ""}, "at least 1"),
        ("box.stl", None, {"prompt": "a\nb"}, "line"),
        ("box.stl", None, {"reading": Reading(up="q")}, "up: found"),
        ("box.stl", None, {"reading": Reading(up="x", front="-x")}, "two axes"),
        ("box.stl", None, {"reading": Reading(keep_uvs=True)}, "keep"),
    ],
)
def test_a_refusal_changes_nothing(
    workspace: Path, tmp_path: Path, name: str, content: str | None, changes: dict, said: str
) -> None:
    model = tmp_path / name
    if content is None:
        box(tmp_path, name)
    else:
        model.write_text(content)
    before = everything(workspace)
    with pytest.raises(DreamFusionKitError, match=said):
        add(workspace, model, **changes)
    assert everything(workspace) == before


def test_an_id_that_is_there_is_refused(workspace: Path, tmp_path: Path) -> None:
    add(workspace, box(tmp_path))
    with pytest.raises(RecipeError, match="is there already"):
        add(workspace, box(tmp_path))


def test_a_mesh_has_no_seeds(workspace: Path, tmp_path: Path) -> None:
    (workspace / "suites/trio/suite.yaml").write_text(
        "suite: trio\nseeds: [0, 1]\noverrides: {}\nevaluation: null\n"
    )
    for path in (workspace / "suites/trio/assets").glob("*/asset.yaml"):
        path.write_text("prompt: a cube\nrecipe: analytic\nseed: null\noverrides: {}\n")
    load_suite(workspace, "trio")
    with pytest.raises(RecipeError, match="found an imported mesh in a suite with seeds"):
        add(workspace, box(tmp_path), "trio")
    assert not (workspace / "suites/trio/assets/box").exists()


def test_an_import_in_the_default_suite_is_refused(workspace: Path) -> None:
    path = workspace / "params.yaml"
    section = (
        "import: {file: a.stl, files: {a.stl: %s}, up: z, front: x, meters_per_unit: 1.0, "
        "uvs: unwrap}"
    )
    text = path.read_text().replace(
        "    overrides: {}\n",
        "    overrides: {}\n    " + section % ("'" + "0" * 64 + "'") + "\n",
        1,
    )
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"\.import: found an imported mesh in the default suite"):
        check_suite(workspace, "default")


def test_where_unwrapping_hangs_cells_are_written_down(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = import_model._trial

    def hang(folder: Path, section: ImportSection, model: Path, size: int) -> ImportRecord:
        if section.uvs == "unwrap":
            raise subprocess.TimeoutExpired("unwrap", 0)
        return trial(folder, section, model, size)

    monkeypatch.setattr(import_model, "_trial", hang)
    assert "could not be unwrapped" in add(workspace, box(tmp_path))
    imported = resolve(workspace, "imported", "box").imported
    assert imported is not None
    assert imported.uvs == "cells"
