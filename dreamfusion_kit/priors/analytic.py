"""A prior whose score is known: a Gaussian mixture over plain images.

Notation, in model space ([-1, 1]), for component k of D-dimensional images:
    m_k, s_k, w_k   mean (one colour everywhere), standard deviation, weight (sums to 1)
    V_k             alpha_t^2 s_k^2 + sigma_t^2, the variance of `noisy` under component k
    p_t(z)          sum_k w_k N(z; alpha_t m_k, V_k I)
    epsilon(z)      -sigma_t * grad log p_t(z)   (Tweedie; DreamFusion, s. 2)
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.priors.base import Prior, to_pixel_space
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import AnalyticSection

NUM_TRAIN_TIMESTEPS = 1000


def cosine_schedule(num_timesteps: int, device: torch.device | str) -> NoiseSchedule:
    """Return alpha_t = cos(pi u / 2) at the middle u of each of `num_timesteps` intervals."""
    u = (torch.arange(num_timesteps, dtype=torch.float64) + 0.5) / num_timesteps
    alpha_bar = torch.cos(torch.pi / 2 * u).square()
    noise_bar = torch.sin(torch.pi / 2 * u).square()
    return NoiseSchedule(
        alpha_bar.to(torch.float32).to(device), noise_bar.to(torch.float32).to(device)
    )


def mixture_epsilon(
    noisy: Float[Tensor, "batch *image"],
    alpha_t: Float[Tensor, " batch"],
    sigma_t: Float[Tensor, " batch"],
    means: Float[Tensor, "components *#image"],
    stds: Float[Tensor, " components"],
    weights: Float[Tensor, " components"],
) -> Float[Tensor, "batch *image"]:
    """Return the exact epsilon of a mixture of isotropic Gaussians; needs sigma_t > 0."""
    num_dimensions = noisy[0].numel()
    along_image = (..., *[None] * (noisy.ndim - 1))
    variance = alpha_t[:, None].square() * stds.square() + sigma_t[:, None].square()
    offset = noisy[:, None] - alpha_t[:, None][along_image] * means
    squared_distance = offset.flatten(start_dim=2).square().sum(dim=-1)
    log_density = -0.5 * (squared_distance / variance + num_dimensions * variance.log())
    responsibility = torch.softmax(weights.log() + log_density, dim=1)
    pull = (responsibility / variance)[along_image] * offset
    return sigma_t[along_image] * pull.sum(dim=1)


@final
class AnalyticPrior(Prior):
    """The mixture of a recipe. It ignores the prompt: every text gives the same noise."""

    def __init__(self, section: AnalyticSection, device: torch.device | str) -> None:
        """Place the mixture's means, deviations and weights on `device`."""
        components = section.components
        colors = torch.tensor([part.mean_color for part in components], device=device)
        weights = torch.tensor([part.weight for part in components], device=device)
        self.schedule = cosine_schedule(NUM_TRAIN_TIMESTEPS, device)
        self._means = (colors * 2 - 1)[:, :, None, None]
        self._stds = torch.tensor([part.std for part in components], device=device)
        self._weights = weights / weights.sum()
        self._image_size_px = section.image_size_px

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return empty rows, of which only the number matters."""
        return TextFeatures({"unread": torch.zeros(len(prompts), 1, device=self._means.device)})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Map images to [-1, 1] at the recipe's size."""
        return to_pixel_space(images, self._image_size_px)

    @torch.no_grad()
    def predict(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the mixture's exact epsilon."""
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        return mixture_epsilon(noisy, alpha_t, sigma_t, self._means, self._stds, self._weights)

    def adapter(self, rank: int, *, generator: torch.Generator) -> "GaussianAdapter":
        """Return one trainable Gaussian; it has no rank and starts at mid grey."""
        return GaussianAdapter(self.schedule)


@final
class GaussianAdapter(Adapter):
    """The exact denoiser of one Gaussian, whose mean colour and deviation are trained.

    Trained on images, it becomes the Gaussian closest to them. It ignores text and
    camera.
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        """Start at mean 0 and deviation 1, to which the model's space is scaled."""
        super().__init__()
        alpha_bar = schedule.alpha_bar
        self._schedule = schedule
        self.mean = nn.Parameter(alpha_bar.new_zeros(1, 3, 1, 1))
        self.log_std = nn.Parameter(alpha_bar.new_zeros(1))

    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
        cameras: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the Gaussian's exact epsilon."""
        alpha_t, sigma_t = self._schedule.alpha_t(timestep), self._schedule.sigma_t(timestep)
        one = torch.ones_like(self.log_std)
        return mixture_epsilon(noisy, alpha_t, sigma_t, self.mean, self.log_std.exp(), one)
