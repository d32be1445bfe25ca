"""The noise levels of a diffusion, timestep by timestep; `base.py` has the notation."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """The cumulative products `alpha_bar` of a variance-preserving schedule, falling.

    `one_minus_alpha_bar` is given where float32 would cancel: near `alpha_bar` = 1 few digits
    of the difference survive (a flow's first noise level was 2 % off).
    """

    alpha_bar: Float[Tensor, " timesteps"]
    one_minus_alpha_bar: Float[Tensor, " timesteps"] | None = None

    def alpha_t(self, timestep: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the signal level at each timestep."""
        return self.alpha_bar[timestep].sqrt()

    def sigma_t(self, timestep: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the noise level at each timestep."""
        if self.one_minus_alpha_bar is None:
            return (1 - self.alpha_bar[timestep]).sqrt()
        return self.one_minus_alpha_bar[timestep].sqrt()
