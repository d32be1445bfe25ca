"""Schedules with zero terminal SNR, and what divides by the signal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.pure_noise import refuse_pure_noise
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.recipe.schema import LinearSchedule, PiecewiseSchedule

ZERO_TERMINAL_SNR = NoiseSchedule(torch.linspace(1, 0, 101)[1:])
DIVIDING = [
    ("sjc", {}),
    ("x0_reconstruction", {}),
    ("sds", {"timestep_weight": "sigma_over_alpha"}),
    ("rfds_rev", {"timestep_weight": "flow"}),
]
UP_TO_THE_END = [
    1.0,
    0.995,
    LinearSchedule(start=1.0, end=0.5, from_step=0, to_step=9),
    LinearSchedule(start=0.5, end=1.0, from_step=0, to_step=9),
    PiecewiseSchedule(points=((0, 0.5), (4, 1.0), (5, 0.5))),
]


@pytest.mark.parametrize(("kind", "changes"), DIVIDING)
@pytest.mark.parametrize("timestep_max", UP_TO_THE_END)
def test_where_no_signal_is_left_nothing_divides_by_it(
    guidance: Callable[..., Any], kind: str, changes: dict[str, Any], timestep_max: Any
) -> None:
    section = guidance(kind, **changes, timestep_max=timestep_max)
    with pytest.raises(RecipeError, match=r"^guidance\.timestep_max: .* no signal left") as caught:
        refuse_pure_noise(section, ZERO_TERMINAL_SNR)
    assert len(str(caught.value).splitlines()) == 1
    # Below the last timestep, and where some signal is left, the ratio is a number.
    refuse_pure_noise(guidance(kind, **changes, timestep_max=0.98), ZERO_TERMINAL_SNR)
    refuse_pure_noise(section, NoiseSchedule(torch.linspace(1, 2.4e-9, 101)[1:]))


@pytest.mark.parametrize("weight", ["sigma_squared", "uniform"])
def test_other_weights_are_defined_at_pure_noise(guidance: Callable[..., Any], weight: str) -> None:
    section = guidance(timestep_max=1.0, timestep_weight=weight)
    refuse_pure_noise(section, ZERO_TERMINAL_SNR)


@pytest.mark.parametrize("loss", ["v", "flow"])
def test_phi_s_loss_is_refused_where_its_weight_is_infinite(
    guidance: Callable[..., Any], loss: str
) -> None:
    phi = guidance("vsd").phi.model_dump() | {"timestep_max": 1.0}
    section = guidance("vsd", phi=phi | {"loss": loss})
    with pytest.raises(RecipeError, match=r"^guidance\.phi\.timestep_max: .*phi\.loss " + loss):
        refuse_pure_noise(section, ZERO_TERMINAL_SNR)
    refuse_pure_noise(guidance("vsd", phi=phi), ZERO_TERMINAL_SNR)  # the noise's own error
    below = guidance("vsd", phi=phi | {"loss": loss, "timestep_max": 0.98})
    refuse_pure_noise(below, ZERO_TERMINAL_SNR)
