"""Score Distillation Sampling: from rendered views to a gradient on them (DreamFusion, eq. 3).

    grad L_SDS = E_{t, eps} [ w(t) (eps_hat(z_t; y, t) - eps) dx / dtheta ]

x is the rendered image in the prior's space. This file follows the path in order:

    x            encode             `to_model_space`: a VAE's encoder, for latent priors
    t            sample_timesteps   uniform over the range that the recipe has at the step
    z_t          diffuse            alpha_t x + sigma_t eps, eps ~ N(0, I)
    eps_hat      guided_epsilon     eps_u + s (eps_c - eps_u), in `classifier_free`
    residual     sds_residual       eps_hat - eps; the denoiser's Jacobian is left out
    w(t)         timestep_weight    times dz_t / dx = alpha_t, absorbed as in the paper
    dx / dimage  pull_back          through `to_model_space`; the mean over batch and pixels

`ScoreDistillation.guide` calls these in turn, and `optimize.loop` propagates the image's
gradient into the field, dimage / dtheta. Other score distillations (`sjc`, `csd`, `ism`,
`sdi`, `rfds_rev`, `vsd`, `x0_reconstruction`) replace only the residual.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, assert_never, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.base import Draw, Guidance, Views
from dreamfusion_kit.guidance.classifier_free import guided_epsilon
from dreamfusion_kit.guidance.conditioning import Conditioning, PromptFeatures, conditioning_for
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import PhiSection, ScoreGuidanceSection
from dreamfusion_kit.records import GuidanceOutput

WeightName = Literal["sigma_squared", "uniform", "sigma_over_alpha", "flow"]


@final
class ScoreDistillation(Guidance):
    """A score distillation without state; only its residual differs from the others'."""

    def __init__(
        self,
        section: ScoreGuidanceSection,
        prior: Prior,
        prompts: PromptFeatures,
        residual: "Residual",
    ) -> None:
        """Keep the prior and the asset's texts."""
        self._section = section
        self._prior = prior
        self._prompts = prompts
        self._residual = residual

    def guide(self, views: Views, step: int, draw: Draw) -> GuidanceOutput:
        """Return the gradient of `w(t) residual` on the images, mean over batch and pixels."""
        section, prior = self._section, self._prior
        conditioning = conditioning_for(section, prior, self._prompts, views.cameras)
        encoded = encode(prior, views.images)
        noisy = diffuse(section, prior, encoded, conditioning, step, draw("guidance"))
        residual = self._residual(noisy)
        return pull_back(section, prior, encoded, noisy, residual)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse anything."""
        if tensors:
            raise ValueError(f"found guidance tensors {', '.join(tensors)}, expected none")


@dataclass(frozen=True)
class EncodedViews:
    """Rendered images, cut off from the field, and `clean`, x, with its graph back to them."""

    images: Float[Tensor, "batch 3 h w"]
    clean: Float[Tensor, "batch channels height width"]


def encode(prior: Prior, images: Float[Tensor, "batch 3 h w"]) -> EncodedViews:
    """Map images to the prior's space: x."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        return EncodedViews(leaf, prior.to_model_space(leaf))


def timestep_range(
    section: ScoreGuidanceSection | PhiSection, step: int, num_train_timesteps: int
) -> tuple[int, int]:
    """Return the lowest and highest timestep at optimiser step `step`, both included."""
    last = num_train_timesteps - 1
    lower = round(value_at(section.timestep_min, step) * num_train_timesteps)
    upper = round(value_at(section.timestep_max, step) * num_train_timesteps)
    return min(lower, last), min(upper, last)


def sample_timesteps(
    section: ScoreGuidanceSection | PhiSection,
    step: int,
    batch: int,
    prior: Prior,
    *,
    generator: torch.Generator,
) -> Int[Tensor, " batch"]:
    """Draw one timestep per image: t, uniform over the step's range (DreamFusion, s. 3.2).

    Views that the prior denoises together have one timestep (MVDream, s. 3.2).
    """
    lower, upper = timestep_range(section, step, prior.num_train_timesteps)
    objects = (batch // prior.num_views,)
    drawn = torch.randint(lower, upper + 1, objects, generator=generator, device=generator.device)
    return drawn if prior.num_views == 1 else drawn.repeat_interleave(prior.num_views)


@dataclass(frozen=True)
class NoiseLevels:
    """alpha_t and sigma_t of each image, shaped to multiply images."""

    alpha: Float[Tensor, "batch 1 1 1"]
    sigma: Float[Tensor, "batch 1 1 1"]

    def add_noise(
        self,
        clean: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return `alpha_t clean + sigma_t noise`."""
        return self.alpha * clean + self.sigma * noise


def noise_levels(prior: Prior, timestep: Int[Tensor, " batch"]) -> NoiseLevels:
    """Return the prior's signal and noise levels at each image's timestep."""
    return NoiseLevels(
        prior.alpha_t(timestep)[:, None, None, None], prior.sigma_t(timestep)[:, None, None, None]
    )


@dataclass(frozen=True)
class NoisyViews:
    """Views diffused to random timesteps, with their texts; one row per image, no graph."""

    clean: Float[Tensor, "batch channels height width"]  # x
    noise: Float[Tensor, "batch channels height width"]  # eps
    timestep: Int[Tensor, " batch"]  # t
    conditioning: Conditioning  # y, and what the unconditional prediction reads
    step: int  # of the optimiser
    generator: torch.Generator | None = None  # draws what a residual needs beside the noise

    def noisy(self, prior: Prior) -> Float[Tensor, "batch channels height width"]:
        """Return `z_t = alpha_t x + sigma_t eps`."""
        return noise_levels(prior, self.timestep).add_noise(self.clean, self.noise)


def diffuse(
    section: ScoreGuidanceSection,
    prior: Prior,
    encoded: EncodedViews,
    conditioning: Conditioning,
    step: int,
    generator: torch.Generator,
) -> NoisyViews:
    """Draw the timesteps, then the noise."""
    clean = encoded.clean.detach()
    timestep = sample_timesteps(section, step, len(clean), prior, generator=generator)
    noise = torch.randn(
        clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
    )
    return NoisyViews(clean, noise, timestep, conditioning, step, generator)


# Per image, the direction to descend along in the prior's space, before w(t).
Residual = Callable[[NoisyViews], Float[Tensor, "batch channels height width"]]


def sds_residual(
    section: ScoreGuidanceSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return `epsilon_hat - epsilon`, per image."""
    noisy = views.noisy(prior)
    return guided_epsilon(section, prior, noisy, views.timestep, views.conditioning) - views.noise


def timestep_weight(
    name: WeightName, alpha_t: Float[Tensor, " batch"], sigma_t: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return w(t): DreamFusion's `sigma_t^2`, 1, or a factor from the noise's error to another's.

    `sigma_t / alpha_t` is that of the clean image (x0 loss, MVDream), `1 + sigma_t / alpha_t`
    that of a flow's velocity (RFDS).
    """
    match name:
        case "sigma_squared":
            return sigma_t.square()
        case "uniform":
            return torch.ones_like(sigma_t)
        case "sigma_over_alpha":
            return sigma_t / alpha_t
        case "flow":
            return 1 + sigma_t / alpha_t
        case _:
            assert_never(name)


def pull_back(
    section: ScoreGuidanceSection,
    prior: Prior,
    encoded: EncodedViews,
    noisy: NoisyViews,
    residual: Float[Tensor, "batch channels height width"],
) -> GuidanceOutput:
    """Weight the residual by w(t) and pull it back to the images, mean over batch and pixels.

    Channels are summed; pixels are those of the prior's own space. `to_model_space` is
    differentiated once, the denoiser never is.
    """
    timestep = noisy.timestep
    weight = timestep_weight(
        section.timestep_weight, prior.alpha_t(timestep), prior.sigma_t(timestep)
    )
    weighted = weight[:, None, None, None] * residual.detach() / len(timestep)
    (gradient,) = torch.autograd.grad(encoded.clean, encoded.images, weighted)
    # Divided here, not before: an encoder in float16 could not hold a pixel's share.
    return GuidanceOutput(
        gradient=gradient / prior.num_pixels(encoded.clean),
        opacity_gradient=None,
        timesteps=timestep / prior.num_train_timesteps,
        noise=noisy.noise,
        prediction=residual.detach(),
    )
