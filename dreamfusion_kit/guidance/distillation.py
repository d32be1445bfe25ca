"""What all score distillations share: noise in, a residual in the prior's space, back out.

    residual   an estimate of the gradient on the clean image in the prior's space
    gradient   the residual, pulled back to the rendered image; mean over the batch

The prior's denoiser is never differentiated; `to_model_space` (a VAE's encoder, for
latent priors) is, once per step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.base import Draw, Guidance, Views
from dreamfusion_kit.guidance.conditioning import Conditioning, PromptFeatures, conditioning_for
from dreamfusion_kit.guidance.timesteps import sample_timesteps, timestep_weight
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import ScoreGuidanceSection
from dreamfusion_kit.records import GuidanceOutput


@dataclass(frozen=True)
class Question:
    """What a distillation asks of a prior at one step; everything has one row per image."""

    clean: Float[Tensor, "batch channels height width"]
    noise: Float[Tensor, "batch channels height width"]
    timestep: Int[Tensor, " batch"]
    conditioning: Conditioning
    step: int


# Per image, what to descend along in the prior's space, before w(t).
Residual = Callable[[Question], Float[Tensor, "batch channels height width"]]


@final
class Distillation(Guidance):
    """A distillation without state: all that tells one from another is its residual."""

    def __init__(
        self,
        section: ScoreGuidanceSection,
        prior: Prior,
        prompts: PromptFeatures,
        residual: Residual,
    ) -> None:
        """Keep the prior and the asset's texts."""
        self._section = section
        self._prior = prior
        self._prompts = prompts
        self._residual = residual

    def guide(self, views: Views, step: int, draw: Draw) -> GuidanceOutput:
        """Return the residual's gradient; draws the timesteps, then the noise."""
        conditioning = conditioning_for(self._section, self._prompts, views.cameras)
        asked = ask(self._section, self._prior, views.images, conditioning, step, draw("guidance"))
        return answer(self._section, self._prior, asked, self._residual(asked.question))

    def state_tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse anything."""
        if tensors:
            raise ValueError(f"found guidance tensors {', '.join(tensors)}, expected none")


@dataclass(frozen=True)
class Asked:
    """A question, and the way back from its clean images to the rendered ones."""

    question: Question
    leaf: Float[Tensor, "batch 3 h w"]
    clean: Float[Tensor, "batch channels height width"]  # a function of `leaf`, with its graph


def ask(
    section: ScoreGuidanceSection,
    prior: Prior,
    images: Float[Tensor, "batch 3 h w"],
    conditioning: Conditioning,
    step: int,
    generator: torch.Generator,
) -> Asked:
    """Bring images into the prior's space and draw a timestep, then noise, for each."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        clean = prior.to_model_space(leaf)
    timestep = sample_timesteps(
        section, step, len(images), prior.num_train_timesteps, generator=generator
    )
    noise = torch.randn(
        clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
    )
    return Asked(Question(clean.detach(), noise, timestep, conditioning, step), leaf, clean)


def answer(
    section: ScoreGuidanceSection,
    prior: Prior,
    asked: Asked,
    residual: Float[Tensor, "batch channels height width"],
) -> GuidanceOutput:
    """Return the gradient of `w(t) residual` on the images, mean over the batch."""
    timestep = asked.question.timestep
    weight = timestep_weight(
        section.timestep_weight, prior.alpha_t(timestep), prior.sigma_t(timestep)
    )
    pull = weight[:, None, None, None] * residual.detach() / len(timestep)
    (gradient,) = torch.autograd.grad(asked.clean, asked.leaf, pull)
    return GuidanceOutput(
        gradient=gradient, opacity_gradient=None, timesteps=timestep / prior.num_train_timesteps
    )
