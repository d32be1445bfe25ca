"""Timesteps without signal, where a guidance that divides by it has no value."""

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.base import NoiseSchedule
from dreamfusion_kit.recipe.schedule import peak
from dreamfusion_kit.recipe.schema import ScoreGuidanceSection, SjcSection

# Below this signal level sigma_t / alpha_t is meaningless in float32.
MIN_ALPHA_TO_DIVIDE_BY = 1e-6


def refuse_pure_noise(section: ScoreGuidanceSection, schedule: NoiseSchedule) -> None:
    """Raise RecipeError where sigma_t / alpha_t is needed at a timestep without signal.

    Schedules with zero terminal SNR (Lin et al. 2023, s. 3.1) end in such a timestep.
    """
    num_timesteps = len(schedule.alpha_bar)
    highest = peak(section.timestep_max)
    last = min(round(highest * num_timesteps), num_timesteps - 1)
    alpha_t = float(schedule.alpha_bar[last].sqrt())
    if section.divides_by_signal and alpha_t < MIN_ALPHA_TO_DIVIDE_BY:
        asks = "kind sjc" if isinstance(section, SjcSection) else "timestep_weight sigma_over_alpha"
        raise RecipeError(
            f"guidance.timestep_max: found {highest:g}, where this prior's schedule has no signal "
            f"left (alpha_t = {alpha_t:.3g}) and guidance.{asks} divides by it; expected a "
            "timestep with signal; set guidance.timestep_max to 0.98"
        )
