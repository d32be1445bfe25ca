"""kit.json: written if something changed, and compared with what a stage runs on."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import RecipeError, StaleKitError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.identity.stage_name import CodeName

STAGES: list[tuple[CodeName, str | None]] = [
    ("fetch", "toybox"),
    ("fetch", "clip"),
    ("embed", "red_mug"),
    ("optimize", "red_mug"),
    ("mesh", "red_mug"),
    ("evaluate", "red_mug"),
    ("score", None),
    ("report", None),
    ("toybox", None),
    ("toybox_train_latent", None),
    ("toybox_evaluate", None),
]


@pytest.fixture
def written(workspace: Path) -> Path:
    """Return a workspace whose kit.json files are up to date."""
    for suite in ("default", "trio"):
        kit_file.write(workspace, suite, kit_file.current(workspace, suite))
    return workspace


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _set(path: Path, *keys: str, value: object) -> None:
    data: Any = json.loads(path.read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(data))


def test_what_is_written_is_read_back(written: Path) -> None:
    for suite in ("default", "trio"):
        current = kit_file.current(written, suite)
        read = kit_file.read(written, suite)
        assert json.dumps(read.suite, sort_keys=True) == json.dumps(current.suite, sort_keys=True)
        assert {**read.folders} == {**current.folders}
    assert set(kit_file.read(written, "trio").folders) == {"cyan_cone", "green_cube", "red_ball"}
    assert "assets" not in kit_file.read(written, "trio").suite


def test_only_what_changed_is_written(written: Path) -> None:
    files = sorted(written.rglob("kit.json"))
    assert len(files) == 5
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in files
    }
    _edit(Path("suites/trio/assets/red_ball/asset.yaml"), "a red ball", "a red cube")
    for suite in ("default", "trio"):
        kit_file.write(written, suite, kit_file.current(written, suite))
    changed = {
        str(path)
        for path in files
        if (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) != before[path]
    }
    assert changed == {"suites/trio/kit.json", "suites/trio/assets/red_ball/kit.json"}
    own = json.loads(before[Path("suites/trio/assets/red_ball/kit.json")][0])["red_ball"]
    now = kit_file.read(written, "trio").folders["red_ball"]["red_ball"]
    assert {stage for stage in own if own[stage] != now[stage]} == {"embed", "mesh", "evaluate"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'"text"'])
def test_a_damaged_file_says_nothing_and_is_written_again(written: Path, damage: bytes) -> None:
    path = Path("kit.json")
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert kit_file.read(written, "default").suite == {}
    with pytest.raises(StaleKitError, match=r"kit\.json: code\.mesh is not the digest"):
        _run("mesh", "red_mug")
    assert kit_file.write(written, "default", kit_file.current(written, "default")) == [path]
    assert path.read_bytes() == whole


def test_a_file_in_another_layout_is_written_again(written: Path) -> None:
    path = Path("kit.json")
    whole = path.read_bytes()
    path.write_text(json.dumps(json.loads(whole)))
    kit_file.write(written, "default", kit_file.current(written, "default"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("stage", "subject"), STAGES)
@pytest.mark.usefixtures("written")
def test_a_stage_runs_where_all_is_up_to_date(stage: CodeName, subject: str | None) -> None:
    assert _run(stage, subject) == 1


@pytest.mark.parametrize(("stage", "subject"), STAGES)
@pytest.mark.usefixtures("written")
def test_a_stage_is_refused_where_other_code_is_installed(
    stage: CodeName, subject: str | None
) -> None:
    _set(Path("kit.json"), "code", stage, value="0" * 64)
    with pytest.raises(StaleKitError) as caught:
        _run(stage, subject)
    assert str(caught.value) == (
        f"kit.json: code.{stage} is not the digest of the code and inputs as they are now; "
        "expected an up-to-date file; run `dreamfusion-kit sync`, then `dvc repro`"
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "refused"),
    [
        ("params.yaml", "a red mug", "a red ball", {"embed", "mesh", "evaluate", "report"}),
        ("params.yaml", "confidence_level: 0.95", "confidence_level: 0.5", {"evaluate", "score"}),
        ("recipes/toybox.yaml", "textureless_probability: 0.2", "textureless_probability: 0.1",
         {"optimize", "mesh", "report"}),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("written")
def test_a_stage_is_refused_where_its_inputs_changed(
    file: str, old: str, new: str, refused: set[str]
) -> None:
    _edit(Path(file), old, new)
    found: set[str] = set()
    for stage, subject in STAGES:
        try:
            _run(stage, subject)
        except StaleKitError:
            found.add(stage)
    assert found == refused


@pytest.mark.usefixtures("written")
def test_the_protocols_clip_and_a_prior_are_held_too() -> None:
    text = Path("params.yaml").read_text()
    _edit(Path("params.yaml"), "path: ", "path: ./")
    with pytest.raises(StaleKitError, match=r"suite\.clip"):
        _run("fetch", "clip")
    Path("params.yaml").write_text(text)
    _edit(Path("recipes/toybox.yaml"), "path: ", "path: ./")
    with pytest.raises(StaleKitError, match=r"recipes\.toybox\.fetch"):
        _run("fetch", "toybox")


@pytest.mark.usefixtures("written")
def test_a_change_during_the_run_is_refused_after_it() -> None:
    """DVC reads kit.json after the stage, which ran on what it said before."""
    with (
        pytest.raises(StaleKitError, match=r"assets\.red_mug\.mesh changed while the mesh stage"),
        kit_file.unchanged(Path(), "default", "mesh", "red_mug"),
    ):
        _set(Path("kit.json"), "assets", "red_mug", "mesh", value="0" * 64)
    with kit_file.unchanged(Path(), "default", "embed", "red_mug"):
        _set(Path("kit.json"), "assets", "blue_house", "embed", value="0" * 64)


@pytest.mark.usefixtures("written")
def test_in_a_suites_folder_an_asset_has_a_file_of_its_own() -> None:
    path = Path("suites/trio/assets/red_ball/kit.json")
    for stage in ("embed", "optimize", "mesh", "evaluate"):
        with kit_file.unchanged(Path(), "trio", stage, "red_ball"):
            pass
        _set(path, "red_ball", stage, value="0" * 64)
        with (
            pytest.raises(StaleKitError, match=rf"kit\.json: red_ball\.{stage} is not"),
            kit_file.unchanged(Path(), "trio", stage, "red_ball"),
        ):
            pass


@pytest.mark.usefixtures("workspace")
def test_with_seeds_each_asset_is_found_in_its_folder() -> None:
    """Also where another folder's name is an asset's id."""
    suite = Path("suites/trio")
    _edit(suite / "suite.yaml", "seeds: null", "seeds: [1, 12]")
    for path in sorted(suite.glob("assets/*/asset.yaml")):
        _edit(path, "seed: 0", "seed: null")
    os.rename(suite / "assets/cyan_cone", suite / "assets/red_ball_s1x")
    kit_file.write(Path(), "trio", kit_file.current(Path(), "trio"))
    kit = kit_file.read(Path(), "trio")
    assert set(kit.folders["red_ball"]) == {"red_ball_s1", "red_ball_s12"}
    for asset in ("red_ball_s1", "red_ball_s12", "red_ball_s1x_s1"):
        with kit_file.unchanged(Path(), "trio", "optimize", asset):
            pass
    digests = kit.folders["red_ball"]
    assert digests["red_ball_s1"]["optimize"] != digests["red_ball_s12"]["optimize"]
    assert digests["red_ball_s1"]["embed"] == digests["red_ball_s12"]["embed"]


@pytest.mark.usefixtures("written")
def test_an_unknown_asset_is_refused_by_its_name() -> None:
    for suite in ("default", "trio"):
        with (
            pytest.raises(RecipeError, match="no asset 'nobody'"),
            kit_file.unchanged(Path(), suite, "mesh", "nobody"),
        ):
            pass


def _run(stage: CodeName, subject: str | None) -> int:
    with kit_file.unchanged(Path(), "default", stage, subject):
        return 1
