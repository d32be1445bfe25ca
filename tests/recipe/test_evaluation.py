"""The evaluation protocol's schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import dreamfusion_kit.recipe
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.evaluation import (
    EvaluationSection,
    GeometrySection,
    TurntableSection,
    ViewsSection,
)
from dreamfusion_kit.recipe.load import load_yaml

BLOCKS = Path(str(dreamfusion_kit.__file__)).parent / "workspace" / "templates"
_PROTOCOL: dict[str, Any] = {
    "seed": 0,
    "clip": {"kind": "local", "path": "dreamfusion_kit/toybox/weights/clip"},
    "caption_pool": {"kind": "toybox"},
    "views": {
        "num_azimuths": 8,
        "elevation_deg": 30,
        "radius": 2.4,
        "fov_y_deg": 45,
        "image_size_px": 128,
        "supersampling": 2,
        "background": [0.5, 0.5, 0.5],
        "ambient": 0.4,
        "diffuse": 0.6,
        "normals": "smooth",
    },
    "turntable": {"num_frames": 36, "image_size_px": 192, "frame_duration_ms": 80},
    "geometry": {
        "num_points": 20000,
        "f_score_distance": 0.05,
        "surface_resolution": 128,
        "iou_resolution": 64,
        "num_azimuths": 36,
        "scale_range": [0.8, 1.25],
        "num_scales": 5,
        "num_search_points": 1000,
    },
    "confidence_level": 0.95,
}


def _validated(changes: dict[str, Any]) -> EvaluationSection:
    return EvaluationSection.model_validate_json(json.dumps(_PROTOCOL | changes))


def test_a_complete_protocol_is_read_and_written_alike() -> None:
    assert json.loads(_validated({}).model_dump_json()) == _PROTOCOL


@pytest.mark.parametrize(
    "model", [EvaluationSection, ViewsSection, TurntableSection, GeometrySection]
)
def test_every_number_of_the_protocol_is_described_and_required(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.is_required() or name == "vqa", name  # null leaves a measure out
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert is_section or field.description, name


def test_a_reversed_scale_range_is_refused() -> None:
    geometry = _PROTOCOL["geometry"] | {"scale_range": [1.25, 0.8]}
    with pytest.raises(ValidationError, match="scale_range"):
        _validated({"geometry": geometry})


@pytest.mark.parametrize(
    "path", sorted(BLOCKS.glob("evaluation_*.yaml")), ids=lambda path: path.stem
)
def test_shipped_blocks_are_whole_protocols(path: Path) -> None:
    data = load_yaml(path).data
    assert list(data) == ["evaluation"]
    section = EvaluationSection.model_validate_json(json.dumps(data["evaluation"]))
    assert json.loads(section.model_dump_json()) == data["evaluation"]


def test_there_are_blocks_for_both_worlds() -> None:
    assert {path.stem for path in BLOCKS.glob("evaluation_*.yaml")} == {
        "evaluation_pretrained",
        "evaluation_toybox",
    }


def test_the_judge_may_be_left_out() -> None:
    assert _validated({"clip": None}).clip is None


@pytest.mark.parametrize(
    "pool",
    [
        "toybox",
        {"kind": "web"},
        {"kind": "suite", "path": "a.txt"},
        {"kind": "file"},
        {"kind": "file", "path": "../captions.txt"},
        {"kind": "file", "path": "/etc/passwd"},
    ],
)
def test_pools_that_are_none_are_refused(pool: object) -> None:
    with pytest.raises(ValidationError, match="caption_pool"):
        _validated({"caption_pool": pool})


B32 = {"kind": "local", "path": "models/b32"}
L14 = {"kind": "local", "path": "models/l14"}


@pytest.mark.parametrize(("key", "name"), [("clip", "prior"), ("clip", "latent"), ("vqa", "clip")])
def test_a_bundled_model_that_cannot_judge_is_refused(key: str, name: str) -> None:
    with pytest.raises(ValidationError, match=f"bundled model {name} as {key}, expected a model"):
        _validated({key: {"kind": "bundled", "name": name}})


def test_one_judge_or_several() -> None:
    one, several = _validated({}), _validated({"clip": [named("b32", B32), named("l14", L14)]})
    assert list(one.judges) == ["clip"]
    assert one.is_plain
    assert {name: source.name for name, source in several.judges.items()} == {
        "b32": "models/b32",
        "l14": "models/l14",
    }
    assert not several.is_plain
    assert _validated({"clip": None}).judges == {}
    assert list(_validated({"vqa": B32}).sources) == ["clip", "vqa"]


def test_the_main_judge_is_part_of_the_identity() -> None:
    forth = _validated({"clip": [named("b32", B32), named("l14", L14)]})
    back = _validated({"clip": [named("l14", L14), named("b32", B32)]})
    assert identity(forth) != identity(back)
    # As before there could be several, so that nothing is evaluated again for a new key.
    assert identity(_validated({})) == identity(_PROTOCOL)


@pytest.mark.parametrize(
    ("clips", "problem"),
    [
        ([], "at least 1"),
        ([("b32", B32), ("b32", L14)], "found the names b32, b32, expected each once"),
        ([("vqa", B32)], "none vqa"),
        ([("b32", B32), ("l14", B32)], "the model of l14 twice"),
        ([("B 32", B32)], "pattern"),
    ],
)
def test_judges_that_cannot_be_told_apart_are_refused(clips: list[Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        _validated({"clip": [named(*clip) for clip in clips]})


def named(name: str, source: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "source": source}
