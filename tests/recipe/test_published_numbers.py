"""recipes/dreamfusion.yaml against the paper: arXiv 2209.14988, s. 3 and appendix A.2."""

import math
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.recipe.load import load_yaml

RECIPE = Path(__file__).parents[2] / "recipes" / "dreamfusion.yaml"


def _value(path: str) -> Any:
    node: Any = load_yaml(RECIPE).data
    for key in path.split("."):
        node = node[key]
    return node


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("guidance.guidance_scale", 1 + 100),
        ("guidance.timestep_weight", "sigma_squared"),
        ("guidance.timestep_min", 0.02),
        ("guidance.timestep_max", 0.98),
        ("guidance.view_prompts.overhead_above_deg", 60),
        ("camera.image_size_px", 64),
        ("camera.elevation_range_deg", [-10, 90]),
        ("camera.azimuth_range_deg", [0, 360]),
        ("camera.radius_range", [1, 1.5]),
        ("camera.focal_range", [0.7, 1.35]),
        ("camera.uniform_sphere_probability", 0.5),
        ("camera.position_jitter", 0.1),
        ("camera.look_at_jitter_std", 0.2),
        ("camera.up_jitter_std", 0.02),
        ("light.direction_std", 1),
        ("light.distance_range", [0.8, 1.5]),
        ("shading.albedo_only_steps", 1000),
        ("shading.shaded_probability", 0.75),
        ("shading.textureless_probability", 0.5),
        ("shading.ambient", 0.1),
        ("shading.diffuse", 0.9),
        ("background.kind", "mlp"),
        ("field.num_blocks", 5),
        ("field.hidden_width", 128),
        ("field.num_frequencies", 8),
        ("field.covariance", {"start": 0.05, "end": 0.002, "from_step": 0, "to_step": 5000}),
        ("field.bounding_radius", 1.4),
        ("field.density_activation", "exp"),
        ("field.density_bias.scale", 5),
        ("field.density_bias.std", 0.2),
        ("renderer.near", 0),
        ("optimize.num_steps", 15_000),
        ("optimize.batch_size", 4),
        ("optimize.optimizer.kind", "distributed_shampoo"),
        ("optimize.optimizer.betas", [0.9, 0.9]),
        ("optimize.optimizer.exponent_override", 2),
        ("optimize.optimizer.block_size", 128),
        ("optimize.optimizer.graft", "sqrt_n"),
        ("optimize.optimizer.epsilon", 1e-6),
        ("optimize.learning_rate_decay.warmup_steps", 3000),
        ("optimize.learning_rate_decay.kind", "cosine"),
    ],
)
def test_the_recipe_has_the_published_number(path: str, published: Any) -> None:
    assert _value(path) == published


@pytest.mark.parametrize("section", ["field", "background"])
def test_the_learning_rate_rises_and_falls_as_published(section: str) -> None:
    rate, decay = _value(f"{section}.learning_rate"), _value("optimize.learning_rate_decay")
    assert rate == pytest.approx(1e-4)
    assert rate * decay["initial_fraction"] == pytest.approx(1e-9)
    assert rate * decay["final_fraction"] == pytest.approx(1e-6)


def test_the_penalties_are_those_published() -> None:
    orientation = _value("optimize.penalties.orientation_lambda")
    assert orientation == {"start": 1e-4, "end": 1e-2, "from_step": 0, "to_step": 5000}
    assert 1e-3 <= _value("optimize.penalties.opacity_lambda") <= 5e-3


def test_what_is_left_out_as_empty_changes_little() -> None:
    threshold = _value("renderer.occupancy.density_threshold")
    assert -math.expm1(-threshold * 2 * _value("field.bounding_radius")) < 0.003
