"""What of a suite is stale, and why: one edit at a time."""

import builtins
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamfusion_kit.errors import RecipeError, SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites import lock_file, plan, status
from dreamfusion_kit.workspace import edit, upgrade

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"
SUITE = "trio"
ASSET = "red_ball"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a workspace whose suite `trio` is made, according to locks and outputs."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    list(upgrade.upgrade(Path(), [SUITE]))
    root = Path("suites") / SUITE
    _record(root / "dvc.yaml", root, skip=("kit", "score", "report"))
    for pipeline in sorted(root.glob("assets/*/dvc.yaml")):
        _record(pipeline, root)
    return root


def _record(pipeline: Path, root: Path, skip: tuple[str, ...] = ()) -> None:
    """Write the dvc.lock that DVC would, read from the dvc.yaml, and make the outputs."""
    stages: dict[str, Any] = {}
    for name, stage in yaml.safe_load(pipeline.read_text())["stages"].items():
        if name in skip:
            continue
        params: dict[str, Any] = {}
        for entry in stage["params"]:
            for file, keys in entry.items():
                said = yaml.safe_load((root / file).read_text())
                params[file] = {key: _at(said, key) for key in keys}
        stages[name] = {
            "cmd": stage["cmd"],
            "deps": [{"path": path, "md5": f"hash of {path}"} for path in stage.get("deps", [])],
            "params": params,
            "outs": [{"path": path, "md5": f"hash of {path}"} for path in stage["outs"]],
        }
        for path in stage["outs"]:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    lock = pipeline.with_name("dvc.lock")
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _at(value: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        value = value[part]
    return value


def reasons(name: str = ASSET) -> dict[str, str]:
    """Return why each stage of an asset is stale."""
    suite = load_suite(Path(), SUITE)
    todo = plan.plan(Path(), suite, kit_file.current(Path(), SUITE))
    (asset,) = [asset for asset in todo.assets if asset.asset == name]
    return {state.stage: state.reason for state in asset.stages}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_is_recorded_and_there_is_up_to_date(made: Path) -> None:
    suite = load_suite(Path(), SUITE)
    todo = plan.plan(Path(), suite, kit_file.read(Path(), SUITE))
    assert todo.fetches == ()
    assert [asset.stale for asset in todo.assets] == [(), (), ()]


def test_a_prompt_makes_its_own_asset_stale_from_its_first_stage(made: Path) -> None:
    replace(made / "assets" / ASSET / "asset.yaml", "a red ball", "a red bell")
    assert reasons() == {
        "embed": "inputs changed",
        "optimize": "after embed",
        "mesh": "after optimize",
        "evaluate": "after mesh",
    }
    assert set(reasons("green_cube").values()) == {""}


def test_a_seed_leaves_the_text_features(made: Path) -> None:
    replace(made / "assets" / ASSET / "asset.yaml", "seed: 0", "seed: 1")
    assert [stage for stage, reason in reasons().items() if reason] == [
        "optimize",
        "mesh",
        "evaluate",
    ]


def test_a_missing_output_is_made_again(made: Path) -> None:
    (made / "out" / "mesh" / ASSET).unlink()
    assert reasons()["mesh"] == f"{ASSET} missing"
    assert reasons()["optimize"] == ""


def test_a_half_deleted_output_is_made_again(made: Path) -> None:
    out = made / "out" / "mesh" / ASSET
    out.unlink()
    (out / "views").mkdir(parents=True)
    (out / "mesh.glb").write_bytes(b"glTF")
    (out / "views" / "front.png").write_bytes(b"PNG")
    lock = made / "assets" / ASSET / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())
    for entry in stages["stages"]["mesh"]["outs"]:
        if entry["path"] == f"out/mesh/{ASSET}":
            entry |= {"size": 7, "nfiles": 2}
    lock.write_text(yaml.safe_dump(stages))
    assert reasons()["mesh"] == ""
    (out / "mesh.glb").unlink()
    found = f"out/mesh/{ASSET} has 1 file of 3 bytes, recorded were 2 files of 7 bytes"
    assert reasons()["mesh"] == found
    (out / "mesh.glb").symlink_to("an object that left the cache")
    assert reasons()["mesh"] == found
    (out / "mesh.glb").unlink()
    (out / "mesh.glb").write_bytes(b"half")
    (out / "views" / "front.png").write_bytes(b"")
    assert reasons()["mesh"].startswith(f"out/mesh/{ASSET} has 2 files of 4 bytes")


def test_digests_of_before_an_edit_are_refused_in_one_line(made: Path) -> None:
    kit = kit_file.current(Path(), SUITE)
    edit.add(Path(), SUITE, "late", prompt="a red mug", recipe="toybox", seed=0)
    with pytest.raises(SuiteError, match=r"^trio: found no digests of late, expected .*run the"):
        plan.plan(Path(), load_suite(Path(), SUITE), kit)


def test_code_that_changed_is_named(made: Path) -> None:
    lock = made / "assets" / ASSET / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())
    stages["stages"]["mesh"]["params"]["kit.json"]["code.mesh"] = "an older digest"
    lock.write_text(yaml.safe_dump(stages))
    assert reasons()["mesh"] == "code changed"
    assert reasons()["optimize"] == ""


def test_an_earlier_stage_that_ran_alone_makes_the_next_stale(made: Path) -> None:
    """As after `dvc repro -s` of one stage: its outputs have other hashes."""
    lock = made / "assets" / ASSET / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())
    for out in stages["stages"]["optimize"]["outs"]:
        out["md5"] = "another"
    lock.write_text(yaml.safe_dump(stages))
    assert reasons()["mesh"] == f"out/field/{ASSET} changed"


def test_models_that_changed_are_fetched_and_felt(made: Path) -> None:
    replace(Path("recipes/toybox.yaml"), "dtype: float32", "dtype: bfloat16")
    suite = load_suite(Path(), SUITE)
    assert plan.plan(Path(), suite, kit_file.current(Path(), SUITE)).fetches == ("toybox",)
    assert reasons()["embed"] == "inputs changed"


@pytest.mark.parametrize("text", ["", "stages: [", "stages: 3", "[]", "\0", "stages: {mesh: 3}"])
def test_a_damaged_lock_records_nothing(made: Path, text: str) -> None:
    lock = made / "assets" / ASSET / "dvc.lock"
    lock.write_text(text)
    assert lock_file.read_lock(lock) == {}
    assert reasons()["embed"] == "not made yet"


def test_targets_are_named_as_dvc_takes_them(made: Path) -> None:
    suite = load_suite(Path(), SUITE)
    assert plan.stage_target(suite, "fetch", "toybox") == "fetch_toybox"
    assert plan.stage_target(suite, "mesh", ASSET) == f"assets/{ASSET}/dvc.yaml:mesh"
    replace(made / "suite.yaml", "seeds: null", "seeds: [0, 3]")
    for path in made.glob("assets/*/asset.yaml"):
        replace(path, "seed: 0", "seed: null")
    suite = load_suite(Path(), SUITE)
    assert plan.stage_target(suite, "mesh", f"{ASSET}_s3") == f"assets/{ASSET}/dvc.yaml:mesh_s3"
    default = load_suite(Path(), "default")
    assert plan.stage_target(default, "mesh", "red_mug") == "mesh@red_mug"
    assert plan.stage_target(default, "fetch", "clip") == "fetch_clip"


# ---- status


def test_status_has_a_row_per_asset_and_the_reason(made: Path) -> None:
    assert status.table(Path(), SUITE) == (
        "cyan_cone   made\ngreen_cube  made\nred_ball    made\n3 made\n",
        True,
    )
    replace(made / "assets" / ASSET / "asset.yaml", "seed: 0", "seed: 1")
    (made / "assets" / "green_cube" / "dvc.lock").unlink()
    text, is_up_to_date = status.table(Path(), SUITE)
    assert not is_up_to_date
    assert text.splitlines() == [
        "cyan_cone   made",
        "green_cube  missing",
        "red_ball    stale     optimize: inputs changed",
        "1 made, 1 missing, 1 stale",
    ]


def test_a_noted_failure_holds_until_the_asset_is_made(made: Path) -> None:
    path = status.failures_file(Path(), SUITE)
    path.parent.mkdir(parents=True)
    path.write_text('{"red_ball": "mesh: no\\nsurface", "green_cube": "old"}')
    (made / "out" / "mesh" / ASSET).unlink()
    text, _ = status.table(Path(), SUITE)
    assert "green_cube  made" in text
    assert "red_ball    failed    mesh: no surface" in text
    path.write_text("[")
    assert "stale" in status.table(Path(), SUITE)[0]


def test_status_of_a_broken_suite_is_its_problems(made: Path) -> None:
    replace(made / "assets" / ASSET / "asset.yaml", "seed: 0", "seed: x")
    with pytest.raises(RecipeError, match=r"asset\.yaml:3: seed: found"):
        status.table(Path(), SUITE)


def test_status_opens_a_bounded_number_of_files_per_asset(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time: a hundred assets within a second need a few small files each, and no DVC."""
    status.table(Path(), SUITE)  # remembers the code's digests
    opened: list[str] = []
    real_open = Path.open

    def counting(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self.as_posix())
        return real_open(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    real_import = builtins.__import__

    def refusing(name: str, *arguments: Any, **options: Any) -> Any:
        assert name.partition(".")[0] not in ("dvc", "torch"), name
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    status.table(Path(), SUITE)
    own = [path.rpartition("/")[2] for path in opened if f"assets/{ASSET}/" in path]
    assert own == ["asset.yaml", "asset.yaml", "dvc.lock"]  # the suite itself, and its digests
    assert len([path for path in opened if path.startswith("recipes/")]) <= 3
