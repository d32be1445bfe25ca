"""The measured files belong to the asset, and are identified by hashes."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.inputs import checked_inputs, mesh_facts, mesh_hash
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

from .conftest import FACTS, SUITE, write


def _make(workspace: Path, asset: str) -> tuple[AssetLayout, ResolvedAsset]:
    """Leave a field and a mesh as the stages do, with made-up contents."""
    own, resolved = SuiteLayout(workspace, SUITE).asset(asset), resolve(workspace, SUITE, asset)
    own.field.mkdir(parents=True)
    own.mesh.mkdir(parents=True)
    (own.field / "field.safetensors").write_text(f"field of {asset}")
    (own.mesh / "mesh.obj").write_text(f"mesh of {asset}")
    write(own.mesh / "mesh.json", FACTS)
    origin.write_field(own.field, resolved)
    origin.write_mesh(own.mesh, resolved)
    return own, resolved


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_belongs_together_is_accepted(workspace: Path) -> None:
    own, resolved = _make(workspace, "red_ball")
    facts, inputs = checked_inputs(own, resolved)
    assert facts == FACTS
    assert inputs.field_sha256 == _sha256(own.field / "field.safetensors")
    assert inputs.mesh_sha256 == _sha256(own.mesh / "origin.json")


def test_any_other_mesh_has_another_hash(workspace: Path) -> None:
    own, resolved = _make(workspace, "red_ball")
    before = mesh_hash(own, resolved)
    (own.mesh / "mesh.obj").write_text("another mesh of red_ball")
    origin.write_mesh(own.mesh, resolved)
    assert mesh_hash(own, resolved) != before


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("field/field.safetensors", r"field\.safetensors: found other content"),
        ("field/origin.json", r"origin\.json: found the asset 'green_cube', expected 'red_ball'"),
        ("mesh/mesh.obj", r"mesh\.obj: found other content"),
        ("mesh/origin.json", r"origin\.json: found the asset 'green_cube', expected 'red_ball'"),
    ],
)
def test_another_asset_s_file_is_refused(workspace: Path, what: str, message: str) -> None:
    (own, resolved), (other, _) = _make(workspace, "red_ball"), _make(workspace, "green_cube")
    kind, name = what.split("/")
    shutil.copy(getattr(other, kind) / name, getattr(own, kind) / name)
    _refused(own, resolved, message)


@pytest.mark.parametrize("kinds", [("field", "mesh"), ("field",), ("mesh",)])
def test_another_asset_s_outputs_together_are_refused(
    workspace: Path, kinds: tuple[str, ...]
) -> None:
    (own, resolved), (other, _) = _make(workspace, "red_ball"), _make(workspace, "green_cube")
    for kind in kinds:
        shutil.copytree(getattr(other, kind), getattr(own, kind), dirs_exist_ok=True)
    _refused(own, resolved, "found the asset 'green_cube', expected 'red_ball'")


@pytest.mark.parametrize("kind", ["field", "mesh"])
@pytest.mark.parametrize(("key", "value"), [("prompt", "a red brick"), ("seed", 7)])
def test_the_same_name_in_another_suite_is_not_enough(
    workspace: Path, kind: str, key: str, value: object
) -> None:
    own, resolved = _make(workspace, "red_ball")
    path: Path = getattr(own, kind) / "origin.json"
    write(path, json.loads(path.read_text()) | {key: value})
    _refused(own, resolved, f"found the {key} {value!r}, expected {getattr(resolved, key)!r}")


def test_what_is_missing_is_named(workspace: Path) -> None:
    own, resolved = _make(workspace, "red_ball")
    (own.mesh / "mesh.obj").unlink()
    _refused(own, resolved, r"mesh\.obj: found no file")
    (own.mesh / "origin.json").unlink()
    _refused(own, resolved, r"mesh/red_ball/origin\.json: not there.* mesh stage")
    (own.field / "field.safetensors").unlink()
    _refused(own, resolved, r"field\.safetensors: found no file")
    (own.field / "origin.json").unlink()
    _refused(own, resolved, r"field/red_ball/origin\.json: not there.* optimize stage")


@pytest.mark.parametrize(
    "changes",
    [
        {"watertight": "yes"},
        {"components": None},
        {"components": 1.5},
        {"area": "0.5"},
        {"origin": {}},
    ],
)
def test_a_damaged_mesh_json_is_one_line(workspace: Path, changes: dict[str, Any]) -> None:
    """Also where the origin was made to name the damaged file."""
    own, resolved = _make(workspace, "red_ball")
    path = own.mesh / "mesh.json"
    write(path, FACTS | changes)
    _refused(own, resolved, r"mesh\.json: found other content")
    origin.write_mesh(own.mesh, resolved)
    _refused(own, resolved, r"mesh\.json: ")
    with pytest.raises(DreamFusionKitError, match=r"mesh\.json: .*mesh stage"):
        mesh_facts(own, resolved)


def _refused(own: AssetLayout, resolved: ResolvedAsset, message: str) -> None:
    with pytest.raises(DreamFusionKitError, match=message) as caught:
        checked_inputs(own, resolved)
    assert len(str(caught.value).splitlines()) == 1
