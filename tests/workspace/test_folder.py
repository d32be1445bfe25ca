"""New suites, assets added to them and removed, and their generated pipelines."""

import re
from pathlib import Path

import pytest
import yaml

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.workspace import edit
from dreamfusion_kit.workspace.folder import new_suite, refresh
from dreamfusion_kit.workspace.pipeline import stale_pipelines
from dreamfusion_kit.workspace.sync import sync

STAGES = ("embed", "optimize", "mesh", "evaluate")


def _add(asset: str, recipe: str = "toybox", suite: str = "pair", seed: int | None = 4) -> Path:
    return edit.add(Path(), suite, asset, prompt="a red ball", recipe=recipe, seed=seed)


@pytest.fixture
def pair(workspace: Path) -> Path:
    """Return the folder of a new suite with two assets."""
    root = new_suite(workspace, "pair")
    _add("ball")
    _add("007", recipe="analytic")
    return root


def test_a_new_suite_is_empty_and_valid(workspace: Path) -> None:
    root = new_suite(workspace, "pair")
    assert root == Path("suites/pair")
    suite = load_suite(workspace, "pair")
    assert (suite.assets, suite.seeds) == ({}, None)
    assert sync(workspace, "pair") == []
    with pytest.raises(RecipeError, match="suite pair: is there already"):
        new_suite(workspace, "pair")
    for name in ("default", "../pair", "Pair", "", "a b", "$(touch x)", "--help"):
        with pytest.raises(RecipeError, match="suite "):
            new_suite(workspace, name)


@pytest.mark.parametrize("name", ["007", "1e3", "null", "true", "2026-11-28"])
def test_a_suite_s_name_stays_text(workspace: Path, name: str) -> None:
    new_suite(workspace, name)
    assert load_suite(workspace, name).name == name


def test_an_asset_is_a_folder(pair: Path) -> None:
    assert sorted(path.name for path in (pair / "assets" / "ball").iterdir()) == [
        "asset.yaml",
        "dvc.yaml",
        "kit.json",
    ]
    asset = load_suite(Path(), "pair").assets["007"]
    assert (asset.prompt, asset.recipe, asset.seed) == ("a red ball", "analytic", 4)
    assert sync(Path(), "pair") == []


def test_the_pipelines_name_every_key_and_output(pair: Path) -> None:
    """Each key that a stage depends on is there, and each dependency is another's output."""
    kit = kit_file.current(Path(), "pair")
    keys = {
        "kit.json": kit.suite,
        **{f"assets/{name}/kit.json": kit.folders[name] for name in kit.folders},
    }
    outputs, dependencies = {"out/evaluation", "out/field", "out/mesh"}, set[str]()
    for path in pair.rglob("dvc.yaml"):
        for name, stage in yaml.safe_load(path.read_text())["stages"].items():
            assert stage["cmd"].startswith("exec dreamfusion-kit "), name
            dependencies |= set(stage.get("deps", ()))
            outs = [*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())]
            for out in outs:
                outputs |= {out} if isinstance(out, str) else set(out)
            for entry in stage.get("params", ()):
                for file, names in entry.items():
                    for dotted in names:
                        value = keys[file]
                        for part in dotted.split("."):
                            value = value[part]
                        assert len(str(value)) == 64
    assert dependencies <= outputs
    assert len(outputs) == 3 + 2 * 6 + 3 + 1 + 3  # folders, assets, models, kit.json, sums


def test_an_id_that_is_taken_is_refused(pair: Path) -> None:
    before = {path: path.read_bytes() for path in pair.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match="asset 'ball' is there already"):
        _add("ball")
    for asset in ("Ball", "../x", "", "a;b", "x" * 65):
        with pytest.raises(RecipeError, match="expected an id of 1 to 64"):
            _add(asset)
    assert {path: path.read_bytes() for path in pair.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("recipe", ["nosuch", "clip", "../toybox", "$(touch x)"])
def test_an_asset_that_is_not_valid_leaves_nothing(pair: Path, recipe: str) -> None:
    with pytest.raises(RecipeError, match="recipe"):
        _add("cone", recipe=recipe)
    assert not (pair / "assets" / "cone").exists()
    assert sync(Path(), "pair") == []


def test_a_removed_asset_leaves_nothing(pair: Path) -> None:
    made = [
        pair / "out" / "text" / "007.safetensors",
        *(
            pair / "out" / kind / "007" / "x"
            for kind in ("field", "mesh", "evaluation", "run", "cost")
        ),
        pair / "out" / "model" / "analytic.json",
    ]
    kept = [pair / "out" / "field" / "ball" / "x", pair / "out" / "model" / "toybox.json"]
    for path in made + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    entries = {"fetch_toybox": "a", "fetch_analytic": "b", "score": "c"}
    lock = "".join(f"  {name}:\n    cmd: {word}\n" for name, word in entries.items())
    lock = f"schema: '2.0'\nstages:\n{lock}"
    (pair / "dvc.lock").write_text(lock)
    assert edit.remove(Path(), "pair", "007") == pair / "assets" / "007"
    assert not (pair / "assets" / "007").exists()
    assert not [path for path in made if path.exists()]
    assert all(path.exists() for path in kept)
    assert (pair / "dvc.lock").read_text() == lock.replace("  fetch_analytic:\n    cmd: b\n", "")
    assert sync(Path(), "pair") == []
    with pytest.raises(RecipeError, match="no asset '007'"):
        edit.remove(Path(), "pair", "007")


def test_nothing_is_removed_where_what_is_left_has_problems(pair: Path, workspace: Path) -> None:
    output = pair / "out" / "text" / "007.safetensors"
    output.parent.mkdir(parents=True)
    output.touch()
    before = {path: path.read_bytes() for path in pair.rglob("*") if path.is_file()}
    recipe = workspace / "recipes" / "toybox.yaml"
    recipe.rename(workspace / "toybox.yaml")
    with pytest.raises(RecipeError, match=r"assets/ball/asset.yaml:2: recipe: found no"):
        edit.remove(Path(), "pair", "007")
    assert {path: path.read_bytes() for path in pair.rglob("*") if path.is_file()} == before
    edit.remove(Path(), "pair", "ball")  # without it, nothing has a problem
    assert load_suite(Path(), "pair").folders == ("007",)


def test_an_asset_is_removed_beside_a_damaged_lock(pair: Path) -> None:
    (pair / "dvc.lock").write_bytes(b"stages:\n  fetch_analytic:\n    \xff")
    edit.remove(Path(), "pair", "007")
    assert not (pair / "assets" / "007").exists()


def test_in_the_default_suite_its_entries_in_the_lock_go(workspace: Path) -> None:
    """For an asset whose id ends like another's, only its own."""
    edit.add(workspace, "default", "mug", prompt="a mug", recipe="analytic", seed=0)
    lock = "".join(
        f"  {name}:\n    cmd: x\n"
        for name in ("embed@red_mug", "embed@mug", "fetch@toybox", "fetch@analytic", "score")
    )
    (workspace / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{lock}")
    edit.remove(workspace, "default", "mug")
    left = (workspace / "dvc.lock").read_text()
    assert [line.strip(" :") for line in left.splitlines()[2::2]] == [
        "embed@red_mug",
        "fetch@toybox",
        "score",
    ]


def test_a_pipeline_that_is_behind_is_noticed(pair: Path) -> None:
    path = pair / "assets" / "ball" / "asset.yaml"
    path.write_text(path.read_text().replace("recipe: toybox", "recipe: analytic"))
    stale = stale_pipelines(Path(), load_suite(Path(), "pair"))
    assert set(stale) == {pair / "dvc.yaml", pair / "assets" / "ball" / "dvc.yaml"}
    kit = (pair / "kit.json").read_bytes()
    with pytest.raises(RecipeError, match="run `dreamfusion-kit upgrade --suite pair`"):
        sync(Path(), "pair")
    assert (pair / "kit.json").read_bytes() == kit
    refresh(Path(), "pair")
    assert sync(Path(), "pair") == []


def test_a_hand_written_asset_with_a_reserved_recipe_is_refused_in_one_line(pair: Path) -> None:
    path = pair / "assets" / "ball" / "asset.yaml"
    path.write_text(path.read_text().replace("recipe: toybox", "recipe: clip"))
    with pytest.raises(RecipeError) as caught:
        sync(Path(), "pair")
    assert len(str(caught.value).splitlines()) == 1
    assert "found clip" in str(caught.value)


def test_seeds_give_each_asset_its_stages(workspace: Path) -> None:
    root = new_suite(workspace, "pair")
    path = root / "suite.yaml"
    path.write_text(path.read_text().replace("seeds: null", "seeds: [1, 2]"))
    _add("ball", seed=None)
    stages = yaml.safe_load((root / "assets" / "ball" / "dvc.yaml").read_text())["stages"]
    assert list(stages) == [f"{stage}_s{seed}" for seed in (1, 2) for stage in STAGES]
    assert stages["mesh_s2"]["cmd"] == "exec dreamfusion-kit mesh ball_s2"
    suite = load_suite(workspace, "pair")
    assert {name: asset.seed for name, asset in suite.assets.items()} == {
        "ball_s1": 1,
        "ball_s2": 2,
    }


def test_a_suite_names_a_protocol_which_is_copied_from_the_kit(workspace: Path) -> None:
    captions = Path("captions/coco-153.txt")
    with pytest.raises(RecipeError, match=r"coco-153\.txt: No such file.* get it from "):
        new_suite(workspace, "paper", protocol_name="dreamfusion")
    assert not Path("suites/paper").exists()
    protocol = Path("protocols/dreamfusion.yaml")
    pinned = protocol.read_text()
    captions.parent.mkdir()
    captions.write_text("a red mug.\n")
    protocol.write_text(re.sub(r"(size|sha256|source): .*", r"\1: null", pinned))
    root = new_suite(workspace, "paper", protocol_name="dreamfusion")
    suite = load_suite(workspace, "paper")
    assert suite.protocol == "dreamfusion"
    assert list(suite.evaluation.judges) == ["b32", "b16", "l14"]
    assert "../../protocols/dreamfusion.yaml" in (root / "dvc.yaml").read_text()
    with pytest.raises(RecipeError, match=r"--protocol nothing: found no .*dreamfusion"):
        new_suite(workspace, "other", protocol_name="nothing")
