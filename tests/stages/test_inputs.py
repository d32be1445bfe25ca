"""What a mesh says of itself is compared with whose it should be."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.suite import ResolvedAsset, resolve
from dreamfusion_kit.stages.inputs import checked_inputs, mesh_entry
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

from .conftest import SUITE, write


def _make(workspace: Path, asset: str) -> tuple[AssetLayout, ResolvedAsset]:
    """Leave a field and a mesh as the stages do, with made-up contents."""
    own, resolved = SuiteLayout(workspace, SUITE).asset(asset), resolve(workspace, SUITE, asset)
    own.field.mkdir(parents=True)
    own.mesh.mkdir(parents=True)
    (own.field / "field.safetensors").write_text(f"field of {asset}")
    (own.mesh / "mesh.obj").write_text(f"mesh of {asset}")
    origin = {
        "generator": "dreamfusion-kit", "asset": asset, "prompt": resolved.prompt,
        "seed": resolved.seed, "recipe": resolved.recipe_name, "identity": resolved.identity,
        "field_sha256": _sha256(own.field / "field.safetensors"),
    }  # fmt: skip
    facts = {"watertight": True, "components": 1, "area": 0.5}
    files = {"mesh.obj": _sha256(own.mesh / "mesh.obj")}
    write(own.mesh / "mesh.json", {**facts, "origin": origin, "files": files})
    return own, resolved


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_belongs_together_is_accepted(workspace: Path) -> None:
    own, resolved = _make(workspace, "red_ball")
    facts, inputs = checked_inputs(own, resolved)
    assert facts == {"watertight": True, "components": 1, "area": 0.5}
    assert inputs.field_sha256 == _sha256(own.field / "field.safetensors")
    assert inputs.mesh_sha256 == _sha256(own.mesh / "mesh.json")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("field/field.safetensors", "found a field other than the one"),
        ("mesh/mesh.obj", r"mesh\.obj: found .*, expected .* as mesh\.json says"),
        ("mesh/mesh.json", "found the mesh of green_cube .'a green cube', seed 0."),
    ],
)
def test_another_asset_s_file_is_refused(workspace: Path, what: str, message: str) -> None:
    (own, resolved), (other, _) = _make(workspace, "red_ball"), _make(workspace, "green_cube")
    kind, name = what.split("/")
    shutil.copy(getattr(other, kind) / name, getattr(own, kind) / name)
    _refused(own, resolved, message)


def test_another_asset_s_outputs_together_are_refused(workspace: Path) -> None:
    (own, resolved), (other, _) = _make(workspace, "red_ball"), _make(workspace, "green_cube")
    for source, target in ((other.field, own.field), (other.mesh, own.mesh)):
        shutil.copytree(source, target, dirs_exist_ok=True)
    _refused(own, resolved, "found the mesh of green_cube")


@pytest.mark.parametrize("key", ["prompt", "seed"])
def test_the_same_name_in_another_suite_is_not_enough(workspace: Path, key: str) -> None:
    own, resolved = _make(workspace, "red_ball")
    data: Any = json.loads((own.mesh / "mesh.json").read_text())
    data["origin"][key] = {"prompt": "a red brick", "seed": 7}[key]
    write(own.mesh / "mesh.json", data)
    _refused(own, resolved, "found the mesh of red_ball")


def test_what_is_missing_is_named(workspace: Path) -> None:
    own, resolved = _make(workspace, "red_ball")
    (own.mesh / "mesh.obj").unlink()
    _refused(own, resolved, "found no file, expected")
    (own.field / "field.safetensors").unlink()
    _refused(own, resolved, "found no field")
    (own.mesh / "mesh.json").unlink()
    _refused(own, resolved, r"mesh\.json: cannot be read")


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": None},
        {"origin": {}},
        {"files": {}},
        {"files": {"mesh.obj": "short"}},
        {"files": {"../mesh.obj": "ab" * 32}},
        {"watertight": "yes"},
        {"components": None},
    ],
)
def test_a_damaged_mesh_json_is_one_line(workspace: Path, changes: dict[str, Any]) -> None:
    own, resolved = _make(workspace, "red_ball")
    path = own.mesh / "mesh.json"
    write(path, json.loads(path.read_text()) | changes)
    with pytest.raises(DreamFusionKitError, match=r"mesh\.json: ") as caught:
        mesh_entry(own, resolved)
    assert len(str(caught.value).splitlines()) == 1


def _refused(own: AssetLayout, resolved: ResolvedAsset, message: str) -> None:
    with pytest.raises(DreamFusionKitError, match=message) as caught:
        checked_inputs(own, resolved)
    assert len(str(caught.value).splitlines()) == 1
