"""A mesh that others made, refined: by every representation, and with its UVs kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported import convert, parse
from dreamfusion_kit.mesh.imported.convert import convert as convert_model
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.mesh.imported.trial import Trial
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.stages import embed, evaluate, fetch, mesh, refine
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import import_model
from dreamfusion_kit.workspace.dvc_project import make_project
from dreamfusion_kit.workspace.import_model import Reading
from dreamfusion_kit.workspace.init import init

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
OFFSETS = {
    "kind": "vertex_offsets",
    "max_faces": 5000,
    "learning_rate": 0.002,
    "smoothing_lambda": 0.0,
}
MATERIAL = {
    "roughness": {"kind": "grid", "start": 0.6, "resolution": 8, "learning_rate": 0.1},
    "metallic": {"kind": "number", "start": 0.2, "learning_rate": 0.1},
}


def recipe(name: str, representation: dict[str, Any] | None) -> dict[str, Any]:
    """Return the analytic recipe with the toybox's refinement of three steps."""
    data = yaml.safe_load((ROOT / "recipes" / "analytic.yaml").read_text())
    section = yaml.safe_load((ROOT / "recipes" / "magic3d-toybox.yaml").read_text())["refine"]
    (phase,) = section["phases"]
    texts = ("view_prompts", "negative_prompt")
    phase["guidance"] |= {key: data["guidance"][key] for key in texts}
    phase["camera"] |= {"image_size_px": 32}
    section["representation"] |= {"resolution": 16}
    section["representation"] = representation or section["representation"]
    section["texture"] |= {"resolution": 16}
    if representation is not None:
        section["material"] = MATERIAL
    phase["optimize"] |= {"num_steps": 3, "checkpoint_every_steps": 2, "preview_every_steps": 3}
    phase["optimize"]["learning_rate_decay"] |= {"warmup_steps": 1}
    return data | {"refine": section}


def ball(folder: Path, *, is_open: bool = False) -> Path:
    """Write a ball, red above and blue below, as a GLB with UVs of its own."""
    shape = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = np.array(shape.vertices), np.array(shape.faces)
    if is_open:
        faces = faces[20:]
    uvs = 0.1 + 0.8 * (vertices[:, :2] + 1) / 2  # the front half lies on the other
    image = Image.new("RGB", (48, 48), (255, 0, 0))
    image.paste((0, 0, 255), (0, 24, 48, 48))
    material = PBRMaterial(baseColorTexture=image, metallicFactor=0.0)
    model = trimesh.Trimesh(
        vertices, faces, visual=TextureVisuals(uv=uvs, material=material), process=False
    )
    model.export(folder / "ball.glb")
    return folder / "ball.glb"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    init(here, "analytic")
    make_project(here)
    for name, shape in (("moved", OFFSETS), ("lattice", None)):
        (here / "recipes" / f"{name}.yaml").write_text(json.dumps(recipe(name, shape)))
    params = (here / "params.yaml").read_text().replace("num_azimuths: 36", "num_azimuths: 4")
    (here / "params.yaml").write_text(params.replace("num_points: 20000", "num_points: 500"))

    def in_process(folder: Path, section: ImportSection, model: Path, size: int) -> Trial:
        found = convert_model(folder, section, texture_size_px=size, shown_as=model)
        return Trial(record=found.record, is_closed=bool(found.mesh.facts["watertight"]))

    def read(folder: Path, file: str, *, shown_as: Path) -> RawModel:
        return parse.read_model(folder, file)

    monkeypatch.setattr(convert, "read_raw", read)
    monkeypatch.setattr(import_model, "_trial", in_process)
    monkeypatch.setattr(import_model, "_track", lambda *_: None)
    return here


def made(workspace: Path, model: Path, name: str, *, keep_uvs: bool = False) -> SuiteLayout:
    import_model.import_model(
        workspace,
        "imported",
        name,
        model,
        prompt="a red ball",
        recipe=name,
        reading=Reading(keep_uvs=keep_uvs),
    )
    fetch.run(workspace, "imported", name)
    for stage in (embed, mesh, refine):
        stage.run(workspace, "imported", name, CPU)
    return SuiteLayout(workspace, "imported")


def test_moved_vertices_keep_topology_uvs_and_colours(
    workspace: Path, tmp_path: Path, validate_gltf: Callable[[Path], dict[str, Any]]
) -> None:
    own = made(workspace, ball(tmp_path), "moved", keep_uvs=True).asset("moved")
    before, after = (
        trimesh.load_mesh(folder / "mesh.obj", process=False, maintain_order=True)
        for folder in (own.mesh, own.refined)
    )
    np.testing.assert_allclose(after.visual.uv[after.faces], before.visual.uv[before.faces])
    moved = after.vertices[after.faces] - before.vertices[before.faces]
    assert 0 < np.abs(moved).max() < 0.02  # three steps of 0.002
    facts = json.loads((own.refined / "mesh.json").read_text())
    assert facts["watertight"]
    assert facts["texture_size_px"] == 48
    with Image.open(own.refined / "moved_albedo.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels[12, 24, 0] > pixels[12, 24, 2] + 100  # above it is still red
    assert pixels[36, 24, 2] > pixels[36, 24, 0] + 100
    with Image.open(own.refined / "moved_roughness.png") as image:
        assert np.ptp(np.asarray(image)) > 0  # three steps of it, not the same everywhere
    assert "map_Pm moved_metallic.png" in (own.refined / "mesh.mtl").read_text()
    issues = validate_gltf(own.refined / "mesh.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues
    first = (own.refined / "mesh.glb").read_bytes()
    refine.run(workspace, "imported", "moved", CPU)
    assert (own.refined / "mesh.glb").read_bytes() == first


def test_a_lattice_takes_over_a_closed_mesh(workspace: Path, tmp_path: Path) -> None:
    layout = made(workspace, ball(tmp_path), "lattice")
    own = layout.asset("lattice")
    found = trimesh.load_mesh(own.refined / "mesh.obj", process=False)
    found.merge_vertices(merge_tex=True, merge_norm=True)
    assert found.is_watertight
    assert found.volume == pytest.approx(4 / 3 * np.pi * 0.85**3, rel=0.15)
    fetch.run(workspace, "imported", "clip")
    evaluate.run(workspace, "imported", "lattice", CPU)
    assert (own.evaluation / "metrics.json").is_file()


def test_an_open_mesh_is_moved_and_never_taken_for_closed(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ball(tmp_path, is_open=True)
    with pytest.raises(MeshError, match=r"ball\.glb: found an open mesh.*vertex_offsets"):
        made(workspace, model, "lattice")
    own = made(workspace, model, "moved").asset("moved")
    assert not json.loads((own.refined / "mesh.json").read_text())["watertight"]
    # The stage looks itself: an asset.yaml may be written by hand.
    monkeypatch.setattr(import_model, "_check_start", lambda *_: None)
    with pytest.raises(MeshError, match=r"^lattice: found an open mesh"):
        made(workspace, model, "lattice")
