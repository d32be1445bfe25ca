"""Stops a run that is dead, and says what to change."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.recipe.schema import WatchdogSection

Part = Literal["cameras", "lights", "background", "opacity", "images", "guidance", "penalties"]

# From cause to effect: a non-finite number spreads to the parts listed after its own.
_PARTS: Mapping[Part, tuple[str, str]] = {
    "cameras": (
        "the squared distances of the cameras",
        "lower camera.radius_range, camera.position_jitter or camera.look_at_jitter_std",
    ),
    "lights": (
        "the squared distances of the lights",
        "lower light.distance_range",
    ),
    "background": ("the background", "lower the background's learning rate"),
    "opacity": (
        "the rendered opacity",
        "lower the field's learning rates, field.density_bias.scale or field.density_offset",
    ),
    "images": ("the rendered images", "lower the field's learning rates"),
    "guidance": (
        "the guidance's gradient on finite images",
        "set prior.dtype to float32, or lower guidance.guidance_scale",
    ),
    "penalties": (
        "the sum of the penalties",
        "lower the lambdas of optimize.penalties",
    ),
}
_BACKWARD = (
    "the gradient of the parameters alone",
    "lower the field's learning rates or optimize.max_gradient_norm",
)
_RATES_OF_A_SURFACE = "lower the learning rates of refine.representation and refine.texture"
# The same for a surface, where the advice is another.
_PARTS_OF_A_SURFACE: Mapping[Part, tuple[str, str]] = {
    **_PARTS,
    "opacity": ("the rendered opacity", _RATES_OF_A_SURFACE),
    "images": ("the rendered images", _RATES_OF_A_SURFACE),
    "guidance": (
        _PARTS["guidance"][0],
        "set the prior's dtype to float32, or lower guidance_scale",
    ),
}


def check_gradient(
    step: int, metrics: StepMetrics, parts: Mapping[Part, Tensor], *, place: str = ""
) -> None:
    """Raise NumericsError where a gradient is not finite; called before the update.

    The message names the first of `parts`, from cause to effect, that is not finite. `place` is
    that of `Method`: empty for a field.
    """
    if math.isfinite(metrics.gradient_norm) and math.isfinite(metrics.guidance_norm):
        return
    bad = {part for part, tensor in parts.items() if not torch.isfinite(tensor).all()}
    names = _PARTS_OF_A_SURFACE if place else _PARTS
    last = (_BACKWARD[0], _RATES_OF_A_SURFACE) if place else _BACKWARD
    what, advice = next((text for part, text in names.items() if part in bad), last)
    raise NumericsError(
        f"step {step}: the gradient is not finite (of the parameters {metrics.gradient_norm:.3g}, "
        f"of the images {metrics.guidance_norm:.3g}, at opacity {metrics.opacity:.3g}); "
        f"the first that is not finite is {what}; {advice}"
    )


def check_opacity(
    section: WatchdogSection, history: Sequence[StepMetrics], *, place: str = ""
) -> None:
    """Raise NumericsError where the last steps saw nothing, or nothing but fog.

    Every `check_every_steps`, from `after_step` on, checks the mean over the steps since
    the last check: a single step may well show the object from an odd side.
    """
    step = len(history)
    if step < section.after_step or step % section.check_every_steps:
        return
    recent = history[-section.check_every_steps :]
    opacity = sum(metrics.opacity for metrics in recent) / len(recent)
    found = f"step {step}: mean opacity {opacity:.3g} over the last {len(recent)} steps"
    key = f"{place}optimize.watchdog"
    if opacity < section.min_opacity:
        advice = (
            "lower refine.representation.learning_rate or the lambdas of the phase's penalties"
            if place
            else "lower optimize.penalties.opacity_lambda, or raise field.density_bias.scale"
        )
        raise NumericsError(
            f"{found}, nothing is visible; expected at least {section.min_opacity:g} "
            f"({key}.min_opacity); {advice}"
        )
    if opacity > section.max_opacity:
        advice = (
            "raise the phase's camera.radius_range or lower its camera.focal_range"
            if place
            else "raise optimize.penalties.opacity_lambda, or lower field.density_bias.scale and "
            "field.density_offset"
        )
        filled = "the surface fills the view" if place else "fog fills the view"
        raise NumericsError(
            f"{found}, {filled}; expected at most {section.max_opacity:g} ({key}.max_opacity); "
            f"{advice}"
        )
