"""Which penalties are out of proportion to the guidance, by the shares that a run measured."""

import statistics
from collections.abc import Sequence
from typing import Literal, assert_never

from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.shares import Term
from dreamfusion_kit.recipe.schedule import Scheduled, peak, value_at
from dreamfusion_kit.recipe.schema import PenaltiesSection

WEAKEST, STRONGEST = 1e-4, 1.0
# A single view at little noise has almost no guidance, so one measurement says little.
JUDGED_TOGETHER = 5
_TERMS: tuple[Term, ...] = ("opacity", "orientation", "entropy", "distortion", "smoothness")


def complaints(section: PenaltiesSection, history: Sequence[StepMetrics]) -> list[str]:
    """Return a line for each penalty that was too weak or too strong, in the order of the steps.

    Judged is the median of five measurements in a row. A penalty counts as too weak only where
    its lambda is at its highest: a schedule may well begin with almost nothing.
    """
    measured = [
        (step, metrics.norms.shares(metrics.gradient_norm))
        for step, metrics in enumerate(history)
        if metrics.norms is not None
    ]
    found: dict[tuple[Term, str], str] = {}
    for end in range(JUDGED_TOGETHER, len(measured) + 1):
        window = measured[end - JUDGED_TOGETHER : end]
        for term in _TERMS:
            if any(term not in shares for _, shares in window):
                continue
            step, median = window[-1][0], statistics.median(s[term] for _, s in window)
            schedule = scheduled_lambda(section, term)
            at_peak = all(value_at(schedule, at) >= peak(schedule) for at, _ in window)
            if median > STRONGEST:
                found.setdefault((term, "lower"), _line(step, term, median, "lower"))
            elif median < WEAKEST and at_peak:
                found.setdefault((term, "raise"), _line(step, term, median, "raise"))
    return list(found.values())


def new_complaints(section: PenaltiesSection, history: Sequence[StepMetrics]) -> list[str]:
    """Return what the last step of the history adds to `complaints`."""
    if history[-1].norms is None:
        return []
    return complaints(section, history)[len(complaints(section, history[:-1])) :]


def scheduled_lambda(section: PenaltiesSection, term: Term) -> Scheduled:
    """Return the recipe's lambda of a penalty."""
    match term:
        case "opacity":
            return section.opacity_lambda
        case "orientation":
            return section.orientation_lambda
        case "entropy":
            return section.entropy_lambda
        case "distortion":
            return section.distortion_lambda
        case "smoothness":
            return section.smoothness_lambda
        case _:
            assert_never(term)


def _line(step: int, term: Term, share: float, change: Literal["lower", "raise"]) -> str:
    return (
        f"step {step}: the {term} penalty's gradient is {share:.2g} of the guidance's (median of "
        f"{JUDGED_TOGETHER} measurements), expected {WEAKEST:g} to {STRONGEST:g}; {change} "
        f"optimize.penalties.{term}_lambda"
    )
