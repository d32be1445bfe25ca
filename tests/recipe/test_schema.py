"""The recipe schema: completeness of its documentation, and the checks between keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.evaluation import EvaluationSection, FilePoolSection
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import base
from dreamfusion_kit.recipe.suite_schema import Asset, AssetFile, ParamsFile, SuiteFile

ROOT = Path(__file__).parents[2]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Walk every section that `annotation` can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for argument in get_args(annotation):
        yield from _models(argument)


_FILES = (schema.Recipe, ParamsFile, SuiteFile, AssetFile)
_SECTIONS = {section for file in _FILES for section in _models(file)}
SECTIONS = sorted(_SECTIONS, key=lambda model: model.__name__)
KEYS = [(model, name) for model in SECTIONS for name in model.model_fields]

OPTIONAL = [
    # A workspace without a gate can do all but `gate`, which then says what is missing.
    (ParamsFile, "gate"),
    # Written by `dreamfusion-kit import` alone.
    *((model, "imported") for model in (Asset, AssetFile)),
    # Asked of published pools and for VQAScore alone; identities of other protocols stay.
    *((FilePoolSection, key) for key in ("size", "sha256", "source")),
    (EvaluationSection, "vqa"),
    # Views that are drawn one by one need nothing said; identities of recipes stay.
    (schema.CameraSection, "object_views"),
]


def _kinds(model: type[BaseModel]) -> list[str]:
    field = model.model_fields.get("kind")
    return list(get_args(field.annotation)) if field else []


def test_the_walk_finds_the_sections() -> None:
    assert {schema.Recipe, schema.HashGridSection, schema.LinearSchedule, *_FILES} <= set(SECTIONS)


@pytest.mark.parametrize(("model", "name"), KEYS)
def test_every_key_is_required_and_described(model: type[BaseModel], name: str) -> None:
    field = model.model_fields[name]
    assert field.is_required() != ((model, name) in OPTIONAL)
    is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    assert field.description or is_section


@pytest.mark.parametrize("model", SECTIONS)
def test_every_section_is_frozen_and_closed(model: type[BaseModel]) -> None:
    assert model.model_config.get("frozen")
    assert model.model_config.get("extra") == "forbid"
    assert model.__doc__


def test_no_key_is_spelled_like_its_own_sections_union_tag() -> None:
    # A section's tag is removed from error paths by its spelling, which no key shares.
    assert [model for model in SECTIONS if set(_kinds(model)) & set(model.model_fields)] == []


def test_all_names_of_the_package_are_exported() -> None:
    assert set(schema.__all__) <= set(vars(schema))


def _adapt(kind: Any, value: object) -> Any:
    return TypeAdapter(kind, config=None).validate_json(json.dumps(value))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (base.AzimuthRange, [1, 1], [2, 1]),
        (base.AzimuthRange, [-180, 180], [0, 1e39]),
        (base.LengthRange, [0.1, 2], [0, 2]),
        (base.LengthRange, [0.1, 2], [1, 1e39]),
        (base.FocalRange, [0.7, 1.35], [0, 1]),
        (base.FractionSchedule, 0.5, 1.5),
        (base.FractionSchedule, {"points": [[0, 1], [9, 0]]}, {"points": [[0, 1], [9, 2]]}),
        (base.FractionRange, [0, 1], [0, 1.1]),
        (base.ElevationRange, [-90, 90], [-91, 0]),
        (schema.Schedule, 0, -1),
        (
            schema.Schedule,
            {"start": 0, "end": 1, "from_step": 0, "to_step": 1},
            {"start": 0, "end": 1, "from_step": 1, "to_step": 1},
        ),
        (
            schema.Schedule,
            {"start": 0, "end": 1, "from_step": 0, "to_step": 1, "curve": "sqrt"},
            {"start": 0, "end": 1, "from_step": 0, "to_step": 1, "curve": "cubic"},
        ),
        (schema.Schedule, {"points": [[0, 1], [1, 0.5]]}, {"points": [[0, 1], [0, 0.5]]}),
        (schema.Schedule, {"points": [[0, 1], [1, 0]]}, {"points": [[0, 1]]}),
        (base.Section, {}, {"a": 1}),
        (base.Line, "שלום", "a\nb"),
        (base.Line, "x" * 1000, "x" * 1001),
        (base.Text, "a\nb\n", "a\x85b"),
        (base.Text, "a", "a\u202eb"),
        (
            schema.LocalSourceSection,
            {"kind": "local", "path": "a/b"},
            {"kind": "local", "path": "../b"},
        ),
        (
            schema.LocalSourceSection,
            {"kind": "local", "path": "a"},
            {"kind": "local", "path": "/a"},
        ),
        (schema.LocalSourceSection, {"kind": "local", "path": "a"}, {"kind": "local", "path": ""}),
        (
            schema.LocalSourceSection,
            {"kind": "local", "path": "a"},
            {"kind": "local", "path": "a\0b"},
        ),
        (
            schema.HubSourceSection,
            {
                "kind": "hub",
                "repository": "a/b",
                "revision": "0" * 40,
                "mirrors": [],
                "files": ["a.json"],
                "license_note": "n",
            },
            {
                "kind": "hub",
                "repository": "a/b",
                "revision": "main",
                "mirrors": [],
                "files": ["a.json"],
                "license_note": "n",
            },
        ),
        (
            schema.AdamSection,
            {"kind": "adam", "betas": [0, 0.999], "epsilon": 1e-8},
            {"kind": "adam", "betas": [0.9, 1], "epsilon": 1e-8},
        ),
    ],
)
def test_values_are_bounded(kind: Any, good: object, bad: object) -> None:
    _adapt(kind, good)
    with pytest.raises(ValidationError):
        _adapt(kind, bad)


_VIEW_PROMPTS = {
    "enabled": True,
    "combine": "nearest",
    "front": "front view",
    "left": "side view",
    "right": "side view",
    "back": "back view",
    "overhead": "overhead view",
    "overhead_above_deg": 60,
    "front_half_width_deg": 90,
    "back_half_width_deg": 90,
}


def test_front_and_back_may_touch_but_not_overlap() -> None:
    _adapt(schema.ViewPromptsSection, _VIEW_PROMPTS)
    with pytest.raises(ValidationError, match="overlap"):
        _adapt(schema.ViewPromptsSection, _VIEW_PROMPTS | {"front_half_width_deg": 91})


_SDS = {
    "kind": "sds",
    "guidance_scale": 101,
    "guidance_rescale": 0.0,
    "perp_neg": None,
    "timestep_weight": "uniform",
    "timestep_min": 0.02,
    "timestep_max": 0.98,
    "negative_prompt": "",
    "view_prompts": _VIEW_PROMPTS,
}
_PERP_NEG = {
    "front_at_side": [4, 0.5, -2.426],
    "side_at_front": [4, 0.5, -2.426],
    "side_at_back": [1, 0.5, -0.606],
    "front_at_back": [1, 0.5, 0.967],
}


def _sds(timestep_min: object, timestep_max: object) -> schema.SdsSection:
    changes = {"timestep_min": timestep_min, "timestep_max": timestep_max}
    return _adapt(schema.SdsSection, _SDS | changes)


def _ramp(start: float, end: float, from_step: int, to_step: int) -> dict[str, float]:
    return {"start": start, "end": end, "from_step": from_step, "to_step": to_step}


@pytest.mark.parametrize(
    ("timestep_min", "timestep_max"),
    [(0, 1), (0.02, _ramp(0.98, 0.5, 0, 100)), (_ramp(0.5, 0.02, 0, 9), _ramp(0.98, 0.5, 5, 9))],
)
def test_timesteps_in_order_are_taken(timestep_min: object, timestep_max: object) -> None:
    _sds(timestep_min, timestep_max)


@pytest.mark.parametrize(
    ("timestep_min", "timestep_max", "step"),
    [
        (0.5, 0.5, 0),
        (0.02, 1.5, 0),
        (0.6, _ramp(0.98, 0.5, 0, 100), 80),
        # Both ends are in order; they cross only in between, where one has arrived first.
        (_ramp(0.1, 0.6, 0, 10), _ramp(0.5, 0.9, 20, 30), 8),
        # A root falls below the line between its own ends.
        (_ramp(0.9, 0.05, 0, 100), _ramp(0.98, 0.1, 0, 100) | {"curve": "sqrt"}, 2),
        (0.6, {"points": [[0, 0.98], [50, 0.98], [51, 0.5]]}, 51),
    ],
)
def test_timesteps_out_of_order_are_refused_with_the_step(
    timestep_min: object, timestep_max: object, step: int
) -> None:
    with pytest.raises(ValidationError, match=f"at step {step},"):
        _sds(timestep_min, timestep_max)


RENDERER = {
    "num_samples": 8,
    "jitter": False,
    "footprint": "cone",
    "near": 0.0,
    "beyond": None,
    "occupancy": {
        "resolution": 8,
        "update_every_steps": 1,
        "warmup_steps": 0,
        "decay": 0.9,
        "density_threshold": 0.0,
    },
}


def test_a_cone_does_not_jitter() -> None:
    assert schema.RendererSection.model_validate(RENDERER)
    assert schema.RendererSection.model_validate(RENDERER | {"jitter": True, "footprint": "point"})
    with pytest.raises(ValidationError, match="found jitter with the footprint cone"):
        schema.RendererSection.model_validate(RENDERER | {"jitter": True})


def test_a_cone_needs_a_field_that_knows_it() -> None:
    shipped = load_recipe(ROOT / "recipes" / "mip-nerf-360-scene.yaml")
    assert shipped.renderer.footprint == "cone"
    grid = load_recipe(ROOT / "recipes" / "toybox.yaml")
    data = grid.model_dump(mode="python") | {"renderer": RENDERER}
    with pytest.raises(ValidationError, match="cone with the field voxel_grid"):
        schema.Recipe.model_validate(data)


def test_a_proposal_network_needs_cones() -> None:
    proposal = load_recipe(ROOT / "recipes" / "mip-nerf-360-scene.yaml").renderer.beyond
    assert proposal is not None
    data = RENDERER | {"beyond": proposal.model_dump(mode="python")}
    assert schema.RendererSection.model_validate(data)
    with pytest.raises(ValidationError, match="proposal with the footprint point"):
        schema.RendererSection.model_validate(data | {"footprint": "point"})


def test_particles_are_points_under_adam() -> None:
    shipped = load_recipe(ROOT / "recipes" / "toybox-vsd-particles.yaml")
    assert isinstance(shipped.field, schema.ParticlesSection)
    data = shipped.model_dump(mode="python")
    cones = data | {"renderer": RENDERER}
    with pytest.raises(ValidationError, match="cone with the field particles"):
        schema.Recipe.model_validate(cones)
    published = load_recipe(ROOT / "recipes" / "dreamfusion.yaml").optimize.optimizer
    data["optimize"]["optimizer"] = published.model_dump(mode="python")
    with pytest.raises(ValidationError, match="particles with the optimizer distributed_shampoo"):
        schema.Recipe.model_validate(data)


def test_particles_have_no_particles_of_their_own() -> None:
    shipped = load_recipe(ROOT / "recipes" / "toybox-vsd-particles.yaml").field
    data = shipped.model_dump(mode="json")
    with pytest.raises(ValidationError, match="particles"):
        _adapt(schema.ParticlesSection, data | {"particle": data})


def test_perp_neg_needs_view_prompts() -> None:
    _adapt(schema.SdsSection, _SDS | {"perp_neg": _PERP_NEG})
    blind = _SDS | {"perp_neg": _PERP_NEG, "view_prompts": _VIEW_PROMPTS | {"enabled": False}}
    with pytest.raises(ValidationError, match="expected view prompts"):
        _adapt(schema.SdsSection, blind)


@pytest.mark.parametrize("change", [{"guidance_rescale": 0.5}, {"perp_neg": _PERP_NEG}])
def test_csd_has_no_guided_prediction_to_change(change: dict[str, object]) -> None:
    csd = _SDS | {"kind": "csd", "negative_weight": 1}
    _adapt(schema.CsdSection, csd)
    with pytest.raises(ValidationError, match="difference of predictions"):
        _adapt(schema.CsdSection, csd | change)
