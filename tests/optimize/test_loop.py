"""The loop on the analytic prior: it repeats, it stops, it finds the data."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.camera.light import albedo_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.loop import OptimizedModel
from dreamfusion_kit.optimize.monitor import CurveMonitor
from dreamfusion_kit.recipe.schema import Recipe

from .loop_run import NUM_STEPS, Silent, assert_same, changed, counting, run


def test_the_same_seed_gives_the_same_bits(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    assert_same(run(recipe, make_scratch("again")), uninterrupted)


def test_another_seed_gives_another_field(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    other = run(recipe, make_scratch("other"), seed=1)
    assert other.history != uninterrupted.history


def test_the_prior_is_asked_once_per_step(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    prior = counting(recipe)
    run(recipe, make_scratch("counted"), prior=prior)
    assert prior.batches == [4] * NUM_STEPS  # two views, with and without the text


def test_a_gradient_that_is_not_finite_never_reaches_the_field(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    scratch = make_scratch("broken")
    with pytest.raises(NumericsError, match=r"step 7: the gradient is not finite"):
        run(recipe, scratch, prior=counting(recipe, break_at=7))
    assert_same(run(recipe, scratch), uninterrupted)  # the checkpoint at 5 is sound


@pytest.mark.parametrize(
    ("section", "key", "advice"),
    [
        ("light", "distance_range", "lower light.distance_range"),
        ("camera", "radius_range", "lower camera.radius_range"),
    ],
)
def test_an_absurd_distance_is_named_and_not_the_prior(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], section: str, key: str, advice: str
) -> None:
    shaded = changed(recipe, shading={"albedo_only_steps": 0, "shaded_probability": 1.0})
    absurd = getattr(shaded, section).model_copy(update={key: (1e39, 1e39)})
    with pytest.raises(NumericsError, match=rf"^step 0: the gradient is not finite .*{advice}"):
        run(shaded.model_copy(update={section: absurd}), make_scratch("absurd"))


def test_the_watchdog_stops_a_run_without_an_object(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    watchdog = {"check_every_steps": 2, "after_step": 4, "min_opacity": 0.98, "max_opacity": 1.0}
    strict = changed(recipe, optimize={"watchdog": watchdog})
    with pytest.raises(NumericsError, match=r"step 4: mean opacity .* nothing is visible"):
        run(strict, make_scratch("dead"))


def test_the_field_takes_the_colour_of_the_data(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """All images of this prior are of one colour, and so must the views become."""
    color = (0.9, 0.2, 0.1)
    components = ({"weight": 1.0, "mean_color": color, "std": 0.05},)
    penalties = dict.fromkeys(recipe.optimize.penalties.model_dump(), 0.0)
    single = changed(
        recipe,
        prior={"components": components},
        shading={"albedo_only_steps": 1000},
        optimize={"num_steps": 80, "penalties": penalties, "preview_every_steps": 80},
    )
    result = run(single, make_scratch("colour"), CurveMonitor(make_scratch("live").live))
    cameras = orbit_cameras(
        torch.tensor([10.0, 100.0, 250.0]),
        elevation_deg=15.0,
        radius=2.2,
        fov_y_deg=20.0,  # the middle of the object
        image_size_px=8,
    )
    with torch.no_grad():
        output = result.model.eval().render(
            pixel_rays(cameras), albedo_lighting(cameras), torch.zeros(3, 8, 8, 3)
        )
    assert output.opacity.mean() > 0.9
    found = output.image.mean(dim=(0, 1, 2))
    torch.testing.assert_close(found, torch.tensor(color), atol=0.08, rtol=0)


def test_measuring_shares_leaves_the_run_as_it_is(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    watchdog = recipe.optimize.watchdog.model_dump()
    rarely = changed(recipe, optimize={"watchdog": watchdog | {"check_every_steps": 10**6}})
    unmeasured = run(rarely, make_scratch("unmeasured"))
    assert [m.norms is not None for m in unmeasured.history] == [True] + [False] * (NUM_STEPS - 1)
    assert [m.norms is not None for m in uninterrupted.history] == [True, False] * (NUM_STEPS // 2)
    expected = uninterrupted.model.state_dict()
    for name, tensor in unmeasured.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    numbers = [[m.numbers for m in r.history] for r in (unmeasured, uninterrupted)]
    assert numbers[0] == numbers[1]


def test_a_penalty_out_of_proportion_is_noted_once(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """The fault of before: a penalty's mean over rays beside a guidance summed over pixels."""
    penalties = recipe.optimize.penalties.model_dump()
    weak = {"opacity_lambda": penalties["opacity_lambda"] / 256 / 16, "smoothness_lambda": 100.0}
    monitor = Silent()
    run(changed(recipe, optimize={"penalties": penalties | weak}), make_scratch("odd"), monitor)
    terms = [(note.split()[3], note.split("; ")[1].split()[0]) for note in monitor.notes]
    assert sorted(terms) == [("opacity", "raise"), ("smoothness", "lower")]
    monitor = Silent()
    run(recipe, make_scratch("even"), monitor)
    assert monitor.notes == []
