"""What a denoiser's output says about the noise, for each way of training one.

Notation: `noisy = alpha_t * x + sigma_t * epsilon`. A network is trained to predict
    epsilon         the noise itself
    v_prediction    v = alpha_t * epsilon - sigma_t * x   (Salimans and Ho 2022, app. D)
    sample          x, the clean image
    flow            v = epsilon - x, the velocity of a rectified flow (Liu et al. 2022, eq. 1)

A rectified flow mixes x_t = (1 - t) x + t epsilon, which is not variance preserving, but is
so after division by its length: with c = 1 / sqrt((1 - t)^2 + t^2),

    noisy = c x_t = alpha_t x + sigma_t epsilon,   alpha_t = c (1 - t),  sigma_t = c t.

Since (1 - t) + t = 1, c = alpha_t + sigma_t: the levels alone say which flow they came from,

    t = sigma_t / (alpha_t + sigma_t),   x_t = noisy / (alpha_t + sigma_t),

and x_t + (1 - t) v = epsilon becomes epsilon = (noisy + alpha_t v) / (alpha_t + sigma_t),
exact at both ends.
"""

from typing import Literal, assert_never, get_args

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import NumericsError

DiffusionPrediction = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[str, ...] = get_args(DiffusionPrediction)  # as schedulers spell them
PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]

# Below this noise level float32 cannot tell the noise in `noisy` from its rounding.
MIN_SIGMA_FOR_SAMPLE = 1e-4


def to_epsilon(
    output: Float[Tensor, "batch channels height width"],
    noisy: Float[Tensor, "batch channels height width"],
    alpha_t: Float[Tensor, " batch"],
    sigma_t: Float[Tensor, " batch"],
    prediction_type: PredictionType,
) -> Float[Tensor, "batch channels height width"]:
    """Return the epsilon that `output` stands for.

    `epsilon`, `v_prediction` and `flow` are exact at both ends of the diffusion. `sample` is
    exact at alpha_t = 0 but divides by sigma_t, so it is refused where there is no noise.
    """
    alpha, sigma = alpha_t[:, None, None, None], sigma_t[:, None, None, None]
    match prediction_type:
        case "epsilon":
            return output
        case "v_prediction":
            return alpha * output + sigma * noisy
        case "sample":
            _require_noise(sigma_t)
            return (noisy - alpha * output) / sigma
        case "flow":
            return (noisy + alpha * output) / (alpha + sigma)
        case _:
            assert_never(prediction_type)


def _require_noise(sigma_t: Float[Tensor, " batch"]) -> None:
    lowest = float(sigma_t.min())
    if lowest < MIN_SIGMA_FOR_SAMPLE:
        raise NumericsError(
            f"prior: a prediction of the clean image says nothing about noise at "
            f"sigma_t = {lowest:.3g}; expected at least {MIN_SIGMA_FOR_SAMPLE:g}; "
            "raise guidance.timestep_min"
        )
