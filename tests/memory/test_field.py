"""What field, render and optimiser take: sizes by hand, graphs by torch's own allocator."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.memory import field as module
from dreamfusion_kit.memory.field import field_memory, rough_bytes
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe, SizeSchedule

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
    found = field_memory(recipe(field={"resolution": 16}, camera={"image_size_px": 8}))
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
    found = field_memory(recipe("dreamfusion", **small))
    field = (12 * 16 + 16) + 2 * 16 + 2 * (16 * 16 + 16) + 2 * 16 + (16 * 4 + 4)
    background = (24 * 16 + 16) + (16 * 16 + 16) + (16 * 3 + 3)
    assert found.gradient == 4 * (field + background)
    assert found.parameters == found.gradient + 4  # and the covariance in use
    assert found.optimizer > 2 * found.gradient  # two momenta and the statistics


@pytest.mark.parametrize(
    ("name", "views"), [("toybox", 4), ("toybox-hash", 2), ("dreamfusion-toybox", 1)]
)
def test_a_large_step_lies_on_the_line_of_two_small_ones(name: str, views: int) -> None:
    large = recipe(name, optimize={"batch_size": views})
    by_line = field_memory(large)
    model = module._model(large)
    rendered, learning = module._count_step(large, model, 64, views)
    assert by_line.rendered == pytest.approx(rendered, rel=0.1)
    assert by_line.learning == pytest.approx(learning, rel=0.1)
    previewing = module._count_preview(large, model, 64, 2)
    assert by_line.previewing == pytest.approx(previewing, rel=0.1)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("toybox", {"resolution": 96}),
        ("toybox-hash", {"log2_table_size": 16, "max_resolution": 512}),
        ("dreamfusion-toybox", {"hidden_width": 192}),
    ],
)
def test_a_large_field_lies_on_the_line_of_two_scaled_ones(
    name: str, field: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part, with the bound put so low that the field is scaled down for the estimate."""
    large = recipe(name, field=field, camera={"image_size_px": 32})
    expected = module._counted(large, 1.0)[0]
    monkeypatch.setattr(module, "_MOST_PARAMETERS", large.field.num_parameters // 4)
    found = field_memory(large)
    for part in ("parameters", "gradient", "optimizer", "rendered", "previewing"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), rel=0.15), part
    # What a hash grid spreads at once is a chunk, large beside so few samples.
    assert 0.85 < found.learning / expected.learning < 2


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_numbers_of_parameters_are_the_model_s(path: Path) -> None:
    found = load_recipe(path)
    model = module._model(found)
    exact = sum(parameter.numel() for parameter in model.field.parameters())
    assert found.field.num_parameters == pytest.approx(exact, rel=0.01)
    for section, network in (
        (found.background, model.background),
        (found.renderer.proposal, model.proposal),
    ):
        if network is not None and section is not None:
            exact = sum(parameter.numel() for parameter in network.parameters())
            assert section.num_parameters == pytest.approx(exact, rel=0.4)


@pytest.mark.parametrize("name", ["toybox", "toybox-hash", "dreamfusion-toybox", "analytic"])
def test_the_rough_count_is_within_a_factor_of_three(name: str) -> None:
    for changed in (recipe(name), recipe(name, camera={"image_size_px": 16})):
        found = field_memory(changed)
        at_rest = found.parameters + found.optimizer
        most = max(found.learning, found.previewing + found.gradient)
        assert 1 / 3 < rough_bytes(changed) / (at_rest + most) < 3


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("toybox", {"renderer": {"num_samples": 10**6}}),
        ("toybox", {"renderer": {"num_samples": 10**9}}),
        ("toybox", {"field": {"resolution": 512}}),
        ("toybox", {"camera": {"image_size_px": 10**6}}),
        ("toybox", {"optimize": {"batch_size": 10**9}}),
        ("dreamfusion-toybox", {"field": {"hidden_width": 100_000}}),
        ("toybox-hash", {"field": {"features_per_level": 10**5}}),
    ],
)
def test_the_absurd_is_counted_in_little_memory(
    name: str, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_PARAMETERS", 1 << 20)
    absurd = recipe(name, **sections)
    with LiveMemory() as memory:
        found = field_memory(absurd)
    assert memory.peak_bytes < 2**30
    assert found.learning > 2**33
    assert 1 / 3 < rough_bytes(absurd) / (found.learning + found.optimizer) < 3


def test_few_rays_of_many_samples_lie_on_a_line() -> None:
    """A share of them is less than one small view: two shares were once the same."""
    few = recipe(
        "toybox",
        field={"resolution": 16},
        camera={"image_size_px": 16},
        renderer={"num_samples": 2048},
        optimize={"batch_size": 1},
    )
    rendered, learning = module._count_step(few, module._model(few), 16, 1)
    assert field_memory(few).rendered == pytest.approx(rendered, rel=0.1)
    assert field_memory(few).learning == pytest.approx(learning, rel=0.1)


def test_a_proposal_network_and_its_samples_count() -> None:
    small: dict[str, Any] = {"camera": {"image_size_px": 8}}
    scene = recipe("mip-nerf-360-scene", **small)
    assert scene.renderer.beyond is not None
    beyond = scene.renderer.beyond.model_copy(update={"proposal": None})
    plain = field_memory(recipe("mip-nerf-360-scene", **small, renderer={"beyond": beyond}))
    found = field_memory(scene)
    proposal = module._model(scene).proposal
    assert proposal is not None
    own = sum(value.nbytes for value in proposal.parameters())
    assert found.gradient - plain.gradient == own
    assert found.optimizer - plain.optimizer > 2 * own


def test_the_occupancy_grid_s_update_counts(
    allocator_peak: Callable[[Callable[[], object]], int],
) -> None:
    occupancy = recipe().renderer.occupancy.model_copy(update={"resolution": 32})
    small = recipe(camera={"image_size_px": 8}, renderer={"occupancy": occupancy})
    model = module._model(small)
    found = field_memory(small)
    assert found.occupancy == 5 * 32**3
    peak = allocator_peak(lambda: module._count_update(small, model)) - found.occupancy
    assert found.updating == pytest.approx(peak, rel=0.1)


def test_a_small_render_s_backward_is_what_the_allocator_gives_out(
    allocator_peak: Callable[[Callable[[], object]], int],
) -> None:
    """Both run the same code, so that only the counting is compared."""
    small = recipe(camera={"image_size_px": 32})
    model = module._model(small)
    _, learning = module._count_step(small, model, 32, 1)

    def run() -> None:
        module._count_step(small, model, 32, 1)

    assert learning == pytest.approx(allocator_peak(run), rel=0.1)


def test_normals_and_levels_cost() -> None:
    small: dict[str, Any] = {"camera": {"image_size_px": 8}}
    plain = recipe("toybox-hash", **small, shading={"shaded_probability": 0.0})
    penalties = plain.optimize.penalties.model_copy(update={"orientation_lambda": 0.0})
    optimize = plain.optimize.model_copy(update={"penalties": penalties})
    without = field_memory(plain.model_copy(update={"optimize": optimize}))
    shaded = field_memory(recipe("toybox-hash", **small))
    assert shaded.rendered > 3 * without.rendered  # four more positions for every sample
    coarse = field_memory(recipe("toybox-hash", **small, field={"initial_levels": 1}))
    # Features of a level that is not in use are kept as zeros; its rows are never looked up.
    assert coarse.rendered == shaded.rendered
    assert coarse.learning < shaded.learning


def test_growing_views_count_at_their_largest_and_previews_at_their_smallest() -> None:
    small: dict[str, Any] = {"field": {"resolution": 16}, "renderer": {"num_samples": 8}}
    plain = field_memory(recipe(camera={"image_size_px": 32}, **small))
    sizes = SizeSchedule(sizes=((0, 8), (5, 32)))
    found = field_memory(recipe(camera={"image_size_px": sizes}, **small))
    assert found == replace(plain, previewing=round(plain.previewing / 16))
