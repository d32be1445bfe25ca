"""What field, render and optimiser take: sizes by hand, graphs by torch's own allocator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.optimize import footprint
from dreamfusion_kit.optimize.footprint import field_footprint
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def recipe(name: str = "toybox", **sections: dict[str, Any]) -> Recipe:
    """Return a shipped recipe with some keys changed, section by section."""
    found = load_recipe(RECIPES / f"{name}.yaml")
    updates = {
        section: getattr(found, section).model_copy(update=keys)
        for section, keys in sections.items()
    }
    return found.model_copy(update=updates)


def test_a_grid_and_adam_by_hand() -> None:
    found = field_footprint(recipe(field={"resolution": 16}, camera={"image_size_px": 8}))
    grid = 16**3 * 4  # float32
    assert found.gradient == 4 * grid  # one density, three albedos
    assert found.parameters == 4 * grid + grid  # and each vertex's distance
    assert found.optimizer == 2 * 4 * grid + 2 * 4  # two moments; a count of each group's steps


def test_the_paper_s_network_background_and_optimiser_by_hand() -> None:
    small: dict[str, Any] = {
        "field": {"hidden_width": 16, "num_blocks": 1, "num_frequencies": 2},
        "camera": {"image_size_px": 8},
        "renderer": {"num_samples": 8},
    }
    found = field_footprint(recipe("dreamfusion", **small))
    field = (12 * 16 + 16) + 2 * 16 + 2 * (16 * 16 + 16) + 2 * 16 + (16 * 4 + 4)
    background = (24 * 16 + 16) + (16 * 16 + 16) + (16 * 3 + 3)
    assert found.gradient == 4 * (field + background)
    assert found.parameters == found.gradient + 4  # and the covariance in use
    assert found.optimizer > 2 * found.gradient  # two momenta and the statistics


@pytest.mark.parametrize(
    ("name", "views"), [("toybox", 2), ("toybox-hash", 2), ("dreamfusion-toybox", 1)]
)
def test_a_large_render_lies_on_the_line_of_two_small_ones(name: str, views: int) -> None:
    large = recipe(name, optimize={"batch_size": views})
    by_line = field_footprint(large)
    rendered, learning = footprint._count_step(large, footprint._model(large), 64, views)
    assert by_line.rendered == pytest.approx(rendered, rel=0.1)
    assert by_line.learning == pytest.approx(learning, rel=0.1)


def test_a_small_render_s_backward_is_what_the_allocator_gives_out(
    allocator_peak: Callable[[Callable[[], object]], int],
) -> None:
    """Both run the same code, so that only the counting is compared."""
    small = recipe(camera={"image_size_px": 32})
    model = footprint._model(small)
    _, learning = footprint._count_step(small, model, 32, 1)

    def run() -> None:
        footprint._count_step(small, model, 32, 1)

    assert learning == pytest.approx(allocator_peak(run), rel=0.1)


def test_normals_and_levels_cost() -> None:
    small: dict[str, Any] = {"camera": {"image_size_px": 8}}
    plain = recipe("toybox-hash", **small, shading={"shaded_probability": 0.0})
    penalties = plain.optimize.regularizers.model_copy(update={"orientation_lambda": 0.0})
    optimize = plain.optimize.model_copy(update={"regularizers": penalties})
    without = field_footprint(plain.model_copy(update={"optimize": optimize}))
    shaded = field_footprint(recipe("toybox-hash", **small))
    assert shaded.rendered > 3 * without.rendered  # four more positions for every sample
    coarse = field_footprint(recipe("toybox-hash", **small, field={"initial_levels": 1}))
    # Features of a level that is not in use are kept as zeros; its rows are never looked up.
    assert coarse.rendered == shaded.rendered
    assert coarse.learning < shaded.learning
