"""Dead runs are stopped, living ones are not."""

import pytest
import torch

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.watchdog import Part, check_gradient, check_opacity
from dreamfusion_kit.recipe.schema import WatchdogSection


def metrics(opacity: float = 0.3, guidance: float = 1.0, gradient: float = 1.0) -> StepMetrics:
    return StepMetrics(opacity, guidance, gradient, regularization=0.0, timestep=0.5)


def test_a_living_run_goes_on(watchdog_section: WatchdogSection) -> None:
    history = [metrics() for _ in range(10)]
    check_opacity(watchdog_section, history)
    check_gradient(10, history[-1], FINITE)


@pytest.mark.parametrize(
    ("opacity", "found", "advice"),
    [
        (0.001, "step 10: mean opacity 0.001 .* nothing is visible", "lower .*opacity_lambda"),
        (0.97, "step 10: mean opacity 0.97 .* fog", "raise .*opacity_lambda"),
    ],
)
def test_opacity_out_of_bounds_stops(
    watchdog_section: WatchdogSection, opacity: float, found: str, advice: str
) -> None:
    with pytest.raises(NumericsError, match=f"{found}.*expected.*{advice}"):
        check_opacity(watchdog_section, [metrics(opacity)] * 10)


def test_opacity_is_judged_at_its_times_only(watchdog_section: WatchdogSection) -> None:
    for steps in (5, 9, 11, 14):  # before after_step, and between two looks
        check_opacity(watchdog_section, [metrics(0.0)] * steps)
    with pytest.raises(NumericsError):
        check_opacity(watchdog_section, [metrics(0.0)] * 15)


def test_a_single_empty_view_is_forgiven(watchdog_section: WatchdogSection) -> None:
    check_opacity(watchdog_section, [metrics()] * 9 + [metrics(0.0)])


FINITE: dict[Part, torch.Tensor] = {
    "cameras": torch.ones(2, 3),
    "lights": torch.ones(2, 3),
    "background": torch.ones(2, 4, 4, 3),
    "opacity": torch.ones(2, 4, 4),
    "images": torch.ones(2, 3, 4, 4),
    "guidance": torch.ones(2, 3, 4, 4),
    "penalties": torch.ones(()),
}
NAMED: dict[Part, str] = {
    "cameras": "distances of the cameras; lower camera.radius_range",
    "lights": "distances of the lights; lower light.distance_range",
    "background": "the background; lower the background's learning rate",
    "opacity": "the rendered opacity; lower the field's learning rates, field.density_bias.scale",
    "images": "the rendered images; lower the field's learning rates",
    "guidance": "the guidance's gradient on finite images; set prior.dtype to float32",
    "penalties": "the sum of the penalties; lower the lambdas of optimize.penalties",
}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", NAMED)
def test_what_is_not_finite_first_is_named(part: Part, bad: float) -> None:
    """Everything behind it is not finite either, and blamed for nothing."""
    names = list(FINITE)
    spread = {
        name: tensor if index < names.index(part) else torch.full_like(tensor, bad)
        for index, (name, tensor) in enumerate(FINITE.items())
    }
    with pytest.raises(NumericsError, match=r"^step 7: the gradient is not finite") as caught:
        check_gradient(7, metrics(guidance=bad, gradient=bad), spread)
    assert [name for name, text in NAMED.items() if text in str(caught.value)] == [part]


def test_a_backward_pass_that_overflows_is_named() -> None:
    with pytest.raises(NumericsError, match=r"of the parameters alone; lower .*learning rates"):
        check_gradient(7, metrics(gradient=float("inf")), FINITE)
