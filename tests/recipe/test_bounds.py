"""Every number of the schema is bounded, and what used to pass and then die is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_recipe, load_yaml, validate
from dreamfusion_kit.recipe.problems import PATTERNS
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite_schema import AssetFile, ParamsFile, SuiteFile

ROOT = Path(__file__).parents[2]
_LARGEST_FLOAT32 = 3.4e38
_SMALLEST_FLOAT32 = 1.2e-38


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk the typed leaves of a JSON Schema."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number", "string", "array"):
            yield path, node
        for name, inner in node.items():
            yield from _leaves(inner, f"{path}/{name}")
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from _leaves(inner, f"{path}/{index}")


# The overrides of an asset are any JSON; what they set is checked as the recipe's.
_FILES = (Recipe, ParamsFile, SuiteFile, AssetFile)
_SCHEMAS = [TypeAdapter(model).json_schema() for model in _FILES]
LEAVES = dict(leaf for schema in _SCHEMAS for leaf in _leaves(schema) if "JsonValue" not in leaf[0])
NUMBERS = {path: leaf for path, leaf in LEAVES.items() if leaf["type"] in ("integer", "number")}


def test_the_walk_finds_the_numbers() -> None:
    assert len(NUMBERS) > 150


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_has_bounds_that_float32_or_int64_holds(path: str) -> None:
    leaf = NUMBERS[path]
    lower = leaf.get("minimum", leaf.get("exclusiveMinimum"))
    upper = leaf.get("maximum", leaf.get("exclusiveMaximum"))
    assert lower is not None
    assert upper is not None
    assert lower < upper
    if leaf["type"] == "integer":
        assert max(abs(lower), abs(upper)) < 2**31 or upper == 2**63  # a seed
    else:
        assert max(abs(lower), abs(upper)) < _LARGEST_FLOAT32
        assert "exclusiveMinimum" not in leaf  # 1e-300 would pass, which is 0 in float32
        assert lower <= 0 or lower > _SMALLEST_FLOAT32


@pytest.mark.parametrize(
    "path", [path for path, leaf in LEAVES.items() if leaf["type"] == "string"]
)
def test_a_text_is_bounded(path: str) -> None:
    leaf = LEAVES[path]
    closed = {"const", "enum", "pattern"} & set(leaf)
    assert closed or leaf["maxLength"] <= 5000
    if "pattern" in leaf:
        assert leaf["pattern"] in PATTERNS


# (recipe, original line, broken line, expected message)
_DEADLY = [
    ("toybox", "  num_samples: 64", "  num_samples: 1000000000", "renderer.num_samples"),
    ("toybox", "near: 0.0", "near: 1.0e+39", "renderer.near"),
    ("toybox", "std: 0.35", "std: 1.0e+300", "field.density_bias.std"),
    ("toybox", "std: 0.35", "std: 1.0e-300", "field.density_bias.std"),
    ("toybox", "bounding_radius: 0.95", "bounding_radius: 1.0e-30", "field.bounding_radius"),
    ("toybox", "batch_size: 1", "batch_size: 100000000", "optimize.batch_size"),
    ("toybox", "resolution: 32", "resolution: 100000", "renderer.occupancy.resolution"),
    ("toybox", "fraction: 0.3", "fraction: 0.999999", "mesh.threshold.fraction"),
    ("toybox", "fraction: 0.3", "fraction: 1.0e-12", "mesh.threshold.fraction"),
    ("toybox", "betas: [0.9, 0.99]", "betas: [0.9, 0.9999999999999999]", "optimizer.betas[1]"),
    ("toybox", "epsilon: 1.0e-8", "epsilon: 1.0e-200", "optimize.optimizer.epsilon"),
    ("toybox", "distance_range: [1.8, 3.0]", "distance_range: [1.8, 1.0e+30]", "distance_range[1]"),
    ("toybox", "guidance_scale: 8.0", "guidance_scale: 1.0e+39", "guidance.guidance_scale"),
    ("toybox", "density_learning_rate: 0.1", "density_learning_rate: 1.0e+38", "learning_rate"),
    ("toybox", "opacity_lambda: 0.0009765625", "opacity_lambda: 1.0e+200", "penalties.opacity"),
    ("toybox", "max_faces: 8000", "max_faces: 100000000000", "mesh.max_faces"),
    ("toybox", "smoothing_iterations: 5", "smoothing_iterations: 1000000000", "mesh.smoothing"),
    ("toybox", "    front: front view", r'    front: "a\u202Eb"', "guidance.view_prompts.front"),
    ("toybox-hash", "features_per_level: 2", "features_per_level: 1000000", "features_per_level"),
    ("toybox-hash", "num_levels: 8", "num_levels: 100000", "field.num_levels"),
    ("toybox-vsd", "rank: 4", "rank: 1000000", "guidance.phi.rank"),
    ("dreamfusion", "start_step: ", "start_step: 0 #", "optimize.optimizer.start_step"),
    ("dreamfusion", "hidden_width: 128", "hidden_width: 10000000", "field.hidden_width"),
]


@pytest.mark.parametrize(("name", "old", "new", "where"), _DEADLY)
def test_a_recipe_that_would_die_is_refused(
    name: str, old: str, new: str, where: str, tmp_path: Path
) -> None:
    text = (ROOT / "recipes" / f"{name}.yaml").read_text()
    assert old in text
    path = tmp_path / "deadly.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=r"found .*, expected") as caught:
        load_recipe(path)
    lines = str(caught.value).splitlines()
    assert all(where in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("confidence_level: 0.95", "confidence_level: 0.9999999999999999"),
        ("frame_duration_ms: 80", "frame_duration_ms: 16777216"),
        ("num_points: 20000", "num_points: 1000000000000"),
        ("surface_resolution: 128", "surface_resolution: 100000"),
        ("iou_resolution: 64", "iou_resolution: 100000"),
        ("num_azimuths: 8", "num_azimuths: 1000000000"),
        ("supersampling: 2", "supersampling: 100000"),
        ("radius: 2.6", "radius: 1.0e+39"),
        ("fov_y_deg: 45.0", "fov_y_deg: 179.99999999999997"),
        ("scale_range: [0.8, 1.25]", "scale_range: [1.0e-300, 1.25]"),
    ],
)
def test_a_protocol_that_would_die_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=rf": evaluation\.\S*{old.split(':')[0]}.*: found"):
        validate(load_yaml(path), ParamsFile)


def _with(recipe: str, **field: object) -> Recipe:
    data = load_recipe(ROOT / "recipes" / f"{recipe}.yaml").model_dump(mode="json")
    data["field"] |= field
    return Recipe.model_validate_json(json.dumps(data))


def test_an_initial_density_stays_within_float32() -> None:
    blob = {"kind": "gaussian", "stage": "pre", "scale": 100.0, "std": 0.35}
    _with("toybox", density_activation="softplus", density_bias=blob)
    _with("toybox", density_activation="exp", density_bias=blob | {"stage": "post"})
    with pytest.raises(ValueError, match=r"initial density of exp\(95\)"):
        _with("toybox", density_activation="exp", density_bias=blob)
    with pytest.raises(ValueError, match="use the activation softplus"):
        _with("dreamfusion", density_activation="exp", density_offset=100.0)
