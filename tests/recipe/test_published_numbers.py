"""dreamfusion.yaml against arXiv 2209.14988; prolificdreamer.yaml, mvdream.yaml against code."""

import math
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.recipe.load import load_yaml

RECIPE = Path(__file__).parents[2] / "recipes" / "dreamfusion.yaml"
PROLIFICDREAMER = RECIPE.with_name("prolificdreamer.yaml")


def _value(path: str, recipe: Path = RECIPE) -> Any:
    node: Any = load_yaml(recipe).data
    for key in path.split("."):
        node = node[int(key) if isinstance(node, list) else key]
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


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("guidance.guidance_scale", 7.5),
        ("guidance.timestep_weight", "sigma_squared"),
        ("guidance.timestep_min", 0.02),
        ("guidance.timestep_max", {"points": [[0, 0.98], [5000, 0.98], [5001, 0.5]]}),
        ("guidance.phi.rank", 4),
        ("guidance.phi.learning_rate", 1e-4),
        ("guidance.phi.optimizer.betas", [0.9, 0.99]),
        ("guidance.phi.timestep_max", 1),
        ("guidance.phi.camera_dropout", 0.1),
        ("guidance.view_prompts.front_half_width_deg", 30),
        ("camera.image_size_px", {"sizes": [[0, 64], [5000, 512]]}),
        ("camera.elevation_range_deg", [-10, 45]),
        ("camera.radius_range", [1.0, 1.5]),
        ("field.bounding_radius", 1),
        ("field.density_bias.scale", 10),
        ("field.density_bias.radius", 0.5),
        ("field.encoding_learning_rate", 0.01),
        ("field.network_learning_rate", 0.001),
        ("background.learning_rate", 0.001),
        ("optimize.num_steps", 25_000),
        ("optimize.optimizer.epsilon", 1e-15),
    ],
)
def test_prolificdreamer_has_threestudio_s_number(path: str, published: Any) -> None:
    """Its configs/prolificdreamer.yaml and vsd guidance at commit 28d9d80."""
    assert _value(path, PROLIFICDREAMER) == published


PHASES = (
    ("learns", "geometry", "texture"),
    ("normal_map_probability", 1, 0),
    ("guidance.kind", "sds", "vsd"),
    ("guidance.guidance_scale", 101, 7.5),
    ("guidance.timestep_min", 0.02, 0.02),
    ("guidance.timestep_max.points", *([[[0, 0.98], [5000, 0.98], [5001, 0.5]]] * 2)),
    ("guidance.view_prompts.back_half_width_deg", 45, 30),
    ("camera.image_size_px", 512, 512),
    ("camera.radius_range", [1, 1.5], [1, 1.5]),
    ("camera.elevation_range_deg", [-10, 45], [-10, 45]),
    ("camera.position_jitter", 0, 0),
    ("optimize.num_steps", 15_000, 30_000),
    ("optimize.batch_size", 1, 1),
    ("optimize.optimizer.betas", [0.9, 0.99], [0.9, 0.99]),
    ("optimize.optimizer.epsilon", 1e-15, 1e-15),
    ("optimize.learning_rate_decay.kind", "none", "none"),
)


@pytest.mark.parametrize(("path", "geometry", "texture"), PHASES)
def test_prolificdreamer_s_phases_have_threestudio_s_numbers(
    path: str, geometry: Any, texture: Any
) -> None:
    """Its configs/prolificdreamer-geometry.yaml and -texture.yaml at commit 9f5bdb7."""
    for index, published in enumerate((geometry, texture)):
        assert _value(f"refine.phases.{index}.{path}", PROLIFICDREAMER) == published


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("representation.resolution", 128),
        ("representation.num_levels", 1),
        ("representation.learning_rate", 0.005),
        ("representation.offset_learning_rate", 0.005),
        ("texture.num_levels", 16),
        ("texture.features_per_level", 2),
        ("texture.log2_table_size", 19),
        ("texture.min_resolution", 16),
        ("texture.max_resolution", 4096),
        ("texture.encoding_learning_rate", 0.01),
        ("texture.network_learning_rate", 0.001),
    ],
)
def test_prolificdreamer_s_surface_has_threestudio_s_numbers(path: str, published: Any) -> None:
    assert _value(f"refine.{path}", PROLIFICDREAMER) == published


def test_both_phis_are_the_same_network_which_predicts_v() -> None:
    first = _value("guidance.phi", PROLIFICDREAMER)
    later = _value("refine.phases.1.guidance.phi", PROLIFICDREAMER)
    assert first["source"]["repository"] == "stabilityai/stable-diffusion-2-1"
    assert first["loss"] == "v"
    assert first == later


def test_prolificdreamer_s_penalties_and_lens_are_threestudio_s() -> None:
    """Its guidance is a sum over 64 x 64 latents; fields of view are 40 and 70 degrees."""
    penalties = _value("optimize.penalties", PROLIFICDREAMER)
    assert penalties["opacity_lambda"] * 64**2 == 10
    steps, lambdas = zip(*penalties["entropy_lambda"]["points"], strict=True)
    assert steps == (0, 10_000, 10_001)
    assert [value * 64**2 for value in lambdas] == [0, 0, 1000]
    shortest, longest = _value("camera.focal_range", PROLIFICDREAMER)
    for focal, degrees in ((shortest, 70), (longest, 40)):
        assert focal == pytest.approx(0.5 / math.tan(math.radians(degrees / 2)), abs=5e-4)


MVDREAM = RECIPE.with_name("mvdream.yaml")


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("prior.num_views", 4),
        ("prior.image_size_px", 256),
        ("guidance.kind", "x0_reconstruction"),
        ("guidance.guidance_scale", 50),
        ("guidance.guidance_rescale", 0.5),
        ("guidance.timestep_weight", "uniform"),
        ("guidance.timestep_max", {"start": 0.98, "end": 0.5, "from_step": 0, "to_step": 8000}),
        ("guidance.timestep_min.end", 0.02),
        ("guidance.timestep_min.to_step", 8000),
        ("guidance.view_prompts.enabled", False),
        ("camera.image_size_px", {"sizes": [[0, 64], [5000, 256]]}),
        ("camera.elevation_range_deg", [0, 30]),
        ("camera.radius_range", [0.8, 1.0]),
        ("camera.object_views", {"count": 4, "radius_follows_focal": True}),
        ("camera.position_jitter", 0),
        ("camera.look_at_jitter_std", 0),
        ("camera.up_jitter_std", 0),
        ("shading.albedo_only_steps", 5000),
        ("shading.textureless_probability", 0.5),
        ("background.learning_rate", 0.001),
        ("field.bounding_radius", 1),
        ("field.num_levels", 16),
        ("field.features_per_level", 2),
        ("field.log2_table_size", 19),
        ("field.min_resolution", 16),
        ("field.max_resolution", 4096),
        ("field.density_bias.scale", 10),
        ("field.density_bias.radius", 0.5),
        ("field.encoding_learning_rate", 0.01),
        ("field.network_learning_rate", 0.001),
        ("renderer.num_samples", 512),
        ("renderer.occupancy.resolution", 32),
        ("optimize.num_steps", 10_000),
        ("optimize.batch_size", 4),
        ("optimize.optimizer.betas", [0.9, 0.99]),
        ("optimize.optimizer.epsilon", 1e-15),
        ("optimize.penalties.opacity_lambda", 0),
    ],
)
def test_mvdream_has_its_authors_number(path: str, published: Any) -> None:
    """MVDream-threestudio's mvdream-sd21-shading.yaml and guidance at commit efcd6c3."""
    assert _value(path, MVDREAM) == published


def test_mvdream_s_lens_and_orientation_are_its_authors() -> None:
    """Its guidance is a sum over 32 x 32 latents; fields of view are 15 and 60 degrees."""
    orientation = _value("optimize.penalties.orientation_lambda", MVDREAM)
    assert [orientation[key] * 32**2 for key in ("start", "end")] == [10, 1000]
    assert [orientation[key] for key in ("from_step", "to_step")] == [0, 5000]
    shortest, longest = _value("camera.focal_range", MVDREAM)
    for focal, degrees in ((shortest, 60), (longest, 15)):
        assert focal == pytest.approx(0.5 / math.tan(math.radians(degrees / 2)), abs=5e-4)
