"""Timesteps without signal, where a guidance that divides by it has no value."""

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.recipe.schedule import peak
from dreamfusion_kit.recipe.schema import (
    LinearSchedule,
    PiecewiseSchedule,
    ScoreGuidanceSection,
    SjcSection,
    VsdSection,
    X0ReconstructionSection,
)

# Below this signal level sigma_t / alpha_t is meaningless in float32.
MIN_ALPHA_TO_DIVIDE_BY = 1e-6


def refuse_pure_noise(
    section: ScoreGuidanceSection, schedule: NoiseSchedule, *, place: str = "guidance"
) -> None:
    """Raise RecipeError where sigma_t / alpha_t is needed at a timestep without signal.

    `place` is the section's key in the recipe. Schedules with zero terminal SNR (Lin et al.
    2023, s. 3.1) end in such a timestep.
    """
    if isinstance(section, SjcSection | X0ReconstructionSection):
        _refuse(place, section.timestep_max, f"{place}.kind {section.kind}", schedule)
    if section.timestep_weight in ("sigma_over_alpha", "flow"):
        asks = f"{place}.timestep_weight {section.timestep_weight}"
        _refuse(place, section.timestep_max, asks, schedule)
    if isinstance(section, VsdSection) and section.phi.divides_by_signal:
        asks = f"{place}.phi.loss {section.phi.loss}"
        _refuse(f"{place}.phi", section.phi.timestep_max, asks, schedule)


def _refuse(
    place: str,
    timestep_max: float | LinearSchedule | PiecewiseSchedule,
    asks: str,
    schedule: NoiseSchedule,
) -> None:
    num_timesteps = len(schedule.alpha_bar)
    highest = peak(timestep_max)
    last = min(round(highest * num_timesteps), num_timesteps - 1)
    alpha_t = float(schedule.alpha_bar[last].sqrt())
    if alpha_t < MIN_ALPHA_TO_DIVIDE_BY:
        raise RecipeError(
            f"{place}.timestep_max: found {highest:g}, where this prior's schedule has no signal "
            f"left (alpha_t = {alpha_t:.3g}) and {asks} divides by it; expected a "
            f"timestep with signal; set {place}.timestep_max to 0.98"
        )
