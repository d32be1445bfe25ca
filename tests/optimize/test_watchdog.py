"""Dead runs are stopped, living ones are not."""

import pytest

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.watchdog import check_gradient, check_opacity
from dreamfusion_kit.recipe.schema import WatchdogSection


def metrics(opacity: float = 0.3, guidance: float = 1.0, gradient: float = 1.0) -> StepMetrics:
    return StepMetrics(opacity, guidance, gradient, regularization=0.0, timestep=0.5)


def test_a_living_run_goes_on(watchdog_section: WatchdogSection) -> None:
    history = [metrics() for _ in range(10)]
    check_opacity(watchdog_section, history)
    check_gradient(10, history[-1])


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


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_stop(bad: float) -> None:
    with pytest.raises(NumericsError, match=r"step 7: the gradient is not finite.*prior.dtype"):
        check_gradient(7, metrics(guidance=bad, gradient=bad))
    with pytest.raises(NumericsError, match=r"step 7: the gradient is not finite.*learning rates"):
        check_gradient(7, metrics(gradient=bad))
