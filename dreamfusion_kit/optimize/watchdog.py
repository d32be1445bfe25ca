"""Stops a run that is dead, and says what to change."""

import math
from collections.abc import Sequence

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.recipe.schema import WatchdogSection


def check_gradient(step: int, metrics: StepMetrics) -> None:
    """Raise NumericsError where a gradient is not finite; called before the update."""
    if math.isfinite(metrics.gradient_norm) and math.isfinite(metrics.guidance_norm):
        return
    advice = (
        "lower the field's learning rates or optimize.max_gradient_norm"
        if math.isfinite(metrics.guidance_norm)
        else "lower guidance.guidance_scale; where prior.dtype is float16, set it to float32"
    )
    raise NumericsError(
        f"step {step}: the gradient is not finite (of the parameters {metrics.gradient_norm:.3g}, "
        f"of the images {metrics.guidance_norm:.3g}, at opacity {metrics.opacity:.3g}); "
        f"expected finite numbers; {advice}"
    )


def check_opacity(section: WatchdogSection, history: Sequence[StepMetrics]) -> None:
    """Raise NumericsError where the last steps saw nothing, or nothing but fog.

    Looks every `check_every_steps`, from `after_step` on, at the mean over the steps
    since the last look: a single step may well show the object from an odd side.
    """
    step = len(history)
    if step < section.after_step or step % section.check_every_steps:
        return
    recent = history[-section.check_every_steps :]
    opacity = sum(metrics.opacity for metrics in recent) / len(recent)
    found = f"step {step}: mean opacity {opacity:.3g} over the last {len(recent)} steps"
    if opacity < section.min_opacity:
        raise NumericsError(
            f"{found}, nothing is visible; expected at least {section.min_opacity:g} "
            "(optimize.watchdog.min_opacity); lower optimize.regularizers.opacity_lambda, or "
            "raise field.density_bias.scale"
        )
    if opacity > section.max_opacity:
        raise NumericsError(
            f"{found}, fog fills the view; expected at most {section.max_opacity:g} "
            "(optimize.watchdog.max_opacity); raise optimize.regularizers.opacity_lambda, or "
            "lower field.density_bias.scale and field.density_offset"
        )
