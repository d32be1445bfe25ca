"""Protocols by name, and those that the kit ships."""

import hashlib
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import check
from dreamfusion_kit.recipe.evaluation import FilePoolSection
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.recipe.protocol import load_protocol_file
from dreamfusion_kit.recipe.suite import load_protocol, load_suite, parse_params
from dreamfusion_kit.recipe.yaml_text import dump

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "protocols").glob("*.yaml"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace whose default suite names the protocol `ours`."""
    data = load_yaml(ROOT / "params.yaml").data
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "ours.yaml").write_text(dump({"evaluation": data["evaluation"]}))
    (tmp_path / "params.yaml").write_text(dump({**data, "evaluation": "ours"}))
    return tmp_path


def test_a_named_protocol_is_the_one_written_out(workspace: Path) -> None:
    written = load_suite(ROOT, "default").evaluation
    assert load_suite(workspace, "default").evaluation == written
    assert load_protocol(workspace, "default") == written


def test_a_protocol_that_is_not_there_is_one_line(workspace: Path) -> None:
    document = load_yaml(workspace / "params.yaml")
    document.data["evaluation"] = "our"
    with pytest.raises(RecipeError) as caught:
        parse_params(document, workspace)
    message = str(caught.value)
    assert (
        "evaluation: found our, expected a file protocols/our.yaml; did you mean ours?" in message
    )
    assert "\n" not in message


def test_problems_of_a_protocol_name_its_own_file(workspace: Path) -> None:
    path = workspace / "protocols" / "ours.yaml"
    path.write_text(path.read_text().replace("num_azimuths: 8", "num_azimuths: 0"))
    for problem in (
        lambda: load_suite(workspace, "default"),
        lambda: check.check_files([path]),
    ):
        with pytest.raises(RecipeError, match=r"ours\.yaml:\d+: evaluation\.views\.num_azimuths: "):
            problem()


def test_every_protocol_is_checked_with_the_workspace(workspace: Path) -> None:
    assert workspace / "protocols" / "ours.yaml" in check.workspace_files(workspace)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_protocols_are_whole(path: Path) -> None:
    assert load_protocol_file(path).model_dump(mode="json") == load_yaml(path).data["evaluation"]


def test_dreamfusion_is_its_three_clips_and_153_captions() -> None:
    protocol = load_protocol_file(ROOT / "protocols" / "dreamfusion.yaml")
    assert list(protocol.judges) == ["b32", "b16", "l14"]
    assert protocol.views.elevation_deg == 30
    pool = protocol.caption_pool
    assert isinstance(pool, FilePoolSection)
    assert pool.size == 153
    assert pool.sha256 != hashlib.sha256(b"").hexdigest()
