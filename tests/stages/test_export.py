"""Exports, read as the other projects' own scripts read them."""

import glob
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.errors import DreamFusionKitError, EvaluationError, RecipeError
from dreamfusion_kit.recipe.resolved import resolve_all
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import export, origin
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace.folder import new_suite

from .conftest import ASSETS, SUITE

OBJ = """# y up
mtllib mesh.mtl
usemtl albedo
v 0.5 0.7 0.5
v 0.5 -0.5 -0.5
v -0.5 0.5 -0.5
v -0.5 -0.5 0.5
vt 0.5 0.5
f 1/1 2/1 3/1
f 1/1 4/1 2/1
f 1/1 3/1 4/1
f 2/1 4/1 3/1
"""


@pytest.fixture
def made(workspace: Path) -> Path:
    """Return a workspace whose assets have a red tetrahedron as mesh."""
    return make(workspace)


def make(workspace: Path) -> Path:
    for asset, resolved in resolve_all(workspace, load_suite(workspace, SUITE)).items():
        folder = SuiteLayout(workspace, SUITE).asset(asset).mesh
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mesh.obj").write_text(OBJ)
        (folder / "mesh.mtl").write_text("newmtl albedo\nmap_Kd own_albedo.png\n")
        Image.new("RGB", (4, 4), (255, 0, 0)).save(folder / "own_albedo.png")
        origin.write_mesh(folder, resolved)
    return workspace


def test_t3bench_s_own_pattern_finds_each_prompt_s_mesh(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "T3Bench"
    written = export.t3bench(made, SUITE, root, method="dreamfusion", group="single", seed=None)
    assert len(written) == len(ASSETS)
    for prompt in load_suite(made, SUITE).prompts.values():
        pattern = (
            f"{root}/outputs_mesh_t3/dreamfusion_single/{prompt.replace(' ', '_')}*"
            "/save/it*-export/model.obj"
        )
        (path,) = glob.glob(pattern)
        mesh = trimesh.load(path)  # as its renderer does, which then moves the vertices
        assert isinstance(mesh, trimesh.Trimesh)
        assert len(mesh.faces) == 4
        assert mesh.vertices[:, 2].max() == 0.7  # z is up, as its cameras have it
        assert mesh.volume == pytest.approx(trimesh.load(made_mesh(made)).volume)
        color = np.asarray(mesh.visual.material.image.convert("RGB"))
        assert (color == (255, 0, 0)).all()


def made_mesh(workspace: Path) -> Path:
    return SuiteLayout(workspace, SUITE).asset(ASSETS[0]).mesh / "mesh.obj"


def change_prompt(workspace: Path, asset: str, prompt: str) -> None:
    path = workspace / "suites" / SUITE / "assets" / asset / "asset.yaml"
    lines = [
        f"prompt: {json.dumps(prompt)}" if line.startswith("prompt:") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("a red ball on a mat", r"'a red ball': T3Bench's pattern for it finds .*cyan_cone"),
        ("a ball [red]", r"'a ball \[red\]': T3Bench's pattern for it finds nothing"),
        ("a ball/cone", "finds nothing"),
        ("a red ball", "found the prompt of .* again"),
    ],
)
def test_a_prompt_that_t3bench_would_confuse_is_refused(
    made: Path, tmp_path: Path, prompt: str, problem: str
) -> None:
    change_prompt(made, "red_ball", "a red ball")
    change_prompt(made, "cyan_cone", prompt)
    make(made)
    with pytest.raises(EvaluationError, match=problem):
        export.t3bench(made, SUITE, tmp_path / "T", method="ours", group="surr", seed=None)
    assert not (tmp_path / "T").exists()


def test_what_is_not_made_is_named(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        export.t3bench(workspace, SUITE, tmp_path, method="ours", group="surr", seed=None)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == list(ASSETS)
    with pytest.raises(EvaluationError, match="no asset of seed 99"):
        export.t3bench(workspace, SUITE, tmp_path, method="ours", group="surr", seed=99)


def test_what_an_earlier_recipe_made_is_named(made: Path, tmp_path: Path) -> None:
    path = made / "suites" / SUITE / "suite.yaml"
    text = path.read_text()
    assert "overrides: {}" in text
    path.write_text(text.replace("overrides: {}", "overrides: {mesh.max_faces: 77}"))
    with pytest.raises(EvaluationError) as caught:
        export.t3bench(made, SUITE, tmp_path / "T", method="ours", group="surr", seed=None)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(ASSETS)
    assert all("found the recipe" in line and "run `dvc repro`" in line for line in lines)
    assert not (tmp_path / "T").exists()


def test_an_empty_suite_is_refused(made: Path, tmp_path: Path) -> None:
    new_suite(made, "empty")
    with pytest.raises(EvaluationError, match="suite empty: found no assets, expected some"):
        export.t3bench(made, "empty", tmp_path, method="ours", group="surr", seed=None)


def test_gpteval3d_finds_a_method_s_views(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**export.GPTEVAL3D_VIEWS, "num_azimuths": 4, "image_size_px": 16}
    monkeypatch.setattr(export, "GPTEVAL3D_VIEWS", small)
    suite = load_suite(made, SUITE)
    prompts = ["another", *suite.prompts.values()]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    folders = list(
        export.gpteval3d(
            made, SUITE, tmp_path / "ours", prompts=tmp_path / "prompts.json", seed=None
        )
    )
    assert len(folders) == len(ASSETS)
    for asset in suite.assets.values():
        folder = tmp_path / "ours" / str(prompts.index(asset.prompt)) / str(asset.seed)
        assert {path.name for path in folder.iterdir()} == {
            f"{kind}_{index}.png" for kind in ("rgb", "normal") for index in range(4)
        }
        views = [np.asarray(Image.open(folder / f"rgb_{index}.png")) for index in range(4)]
        assert all(view.shape == (16, 16, 3) for view in views)
        assert any((view[..., 0] > view[..., 1].astype(int) + 50).any() for view in views)
        assert not np.array_equal(views[0], views[1])


def test_the_views_of_gpteval3d_are_120_of_512_pixels() -> None:
    assert (export.GPTEVAL3D_VIEWS["num_azimuths"], export.GPTEVAL3D_VIEWS["image_size_px"]) == (
        120,
        512,
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", RecipeError), ('{"a": 1}', RecipeError), ("[1]", RecipeError), ("[]", EvaluationError)],
)
def test_another_list_of_prompts_is_refused(
    made: Path, tmp_path: Path, text: str, error: type[DreamFusionKitError]
) -> None:
    (tmp_path / "prompts.json").write_text(text)
    with pytest.raises(error, match=r"prompts\.json: "):
        list(export.gpteval3d(made, SUITE, tmp_path, prompts=tmp_path / "prompts.json", seed=None))
