"""Variational Score Distillation (Wang et al. 2023, "ProlificDreamer", arXiv 2305.16213).

SDS moves each image to one point, without any spread: `docs/guidance.md` says which. VSD
treats the renders as samples of a distribution and moves it towards the prior's: the noise
that SDS subtracts becomes the noise that a second denoiser phi, trained on the renders, sees.
    residual   eps_hat(z_t; y, t) - eps_phi(z_t; y, c, t)     (the gradient of L_VSD)
    phi        min E |eps_phi(alpha_t x + sigma_t eps; y, c, t) - eps|^2   (phi's loss)
    c          the camera's pose
Only eps_hat is guided by the text's scale. With phi at the Dirac of one render, this is SDS.

The renders of one batch are the particles of one distribution; so are those of several
fields, where the recipe has them take turns (field.kind particles): one phi serves all.

Whatever the prior's network predicts, phi's predicts the same and is read as eps_phi. What the
loss is the error of is the recipe's choice, since each is a multiple of the noise's:
    v       alpha eps - sigma x,  off by 1 / alpha                (Salimans and Ho 2022)
    flow    eps - x,              off by 1 + sigma / alpha        (Liu et al. 2022)
for equal z = alpha x + sigma eps.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, assert_never, final

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.base import Draw, Guidance, Views
from dreamfusion_kit.guidance.classifier_free import guided_epsilon
from dreamfusion_kit.guidance.conditioning import PromptFeatures, conditioning_for
from dreamfusion_kit.guidance.sds import (
    NoiseLevels,
    NoisyViews,
    diffuse,
    encode,
    noise_levels,
    pull_back,
    sample_timesteps,
)
from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.network.attention import repeatable_attention
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import PLAIN, VsdSection
from dreamfusion_kit.records import Cameras, GuidanceOutput


@final
class VariationalDistillation(Guidance):
    """VSD's gradient, and phi's training beside it."""

    def __init__(
        self, section: VsdSection, prior: Prior, prompts: PromptFeatures, phi: Adapter
    ) -> None:
        """Keep the prior and the asset's texts; `phi` is trained from here on."""
        self._section = section
        self._prior = prior
        self._prompts = prompts
        self._phi = phi
        adam = section.phi.optimizer
        self._optimizer = torch.optim.Adam(
            phi.trainable().values(),
            lr=section.phi.learning_rate,
            betas=adam.betas,
            eps=adam.epsilon,
            fused=True,
        )

    def guide(self, views: Views, step: int, draw: Draw) -> GuidanceOutput:
        """Return the gradient under phi as it is, then train phi on the same views."""
        section, prior = self._section, self._prior
        conditioning = conditioning_for(section, prior, self._prompts, views.cameras)
        encoded = encode(prior, views.images)
        noisy = diffuse(section, prior, encoded, conditioning, step, draw("guidance"))
        poses = pose_rows(views.cameras)
        output = pull_back(section, prior, encoded, noisy, self._residual(noisy, poses))
        generator = draw("phi")
        for _ in range(section.phi.steps):
            self._train_phi(noisy, poses, generator)
        return output

    @torch.no_grad()
    def _residual(
        self, views: NoisyViews, poses: Float[Tensor, "batch 16"]
    ) -> Float[Tensor, "batch channels height width"]:
        timestep, conditioning = views.timestep, views.conditioning
        noisy = views.noisy(self._prior)
        guided = guided_epsilon(self._section, self._prior, noisy, timestep, conditioning)
        with self._phi.resident():
            return guided - self._phi(noisy, timestep, self._text(views), poses)

    def _text(self, views: NoisyViews) -> TextFeatures:
        """Return what phi reads, one row per image."""
        match self._section.phi.text:
            case "view":
                return views.conditioning.conditional
            case "plain":
                plain = self._prompts.select([PLAIN] * len(views.clean))
                return views.conditioning.seen(plain)
            case _:
                assert_never(self._section.phi.text)

    def _train_phi(
        self,
        views: NoisyViews,
        poses: Float[Tensor, "batch 16"],
        generator: torch.Generator,
    ) -> None:
        """Take one step of denoising score matching on the clean images of `views`."""
        section, clean = self._section.phi, views.clean
        timestep = sample_timesteps(
            section, views.step, len(clean), self._prior, generator=generator
        )
        noise = torch.randn(
            clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
        )
        chance = torch.rand(len(clean), generator=generator, device=generator.device)
        kept = (chance >= section.camera_dropout)[:, None]
        levels = noise_levels(self._prior, timestep)
        with torch.enable_grad(), repeatable_attention(clean.device), self._phi.resident():
            found = self._phi(
                levels.add_noise(clean, noise),
                timestep,
                self._text(views),
                torch.where(kept, poses, 0.0),
            )
            error = _error(section.loss, found - noise, levels)
            self._optimizer.zero_grad()
            _backward(error.square().mean(), error.numel(), self._phi.trainable().values())
        self._optimizer.step()

    def state_tensors(self) -> dict[str, Tensor]:
        """Return phi's own parameters and its optimiser's moments."""
        tensors: dict[str, Tensor] = {}
        for name, value in self._phi.trainable().items():
            tensors[f"phi/{name}"] = value
        for name, tensor in optimizer_tensors(self._optimizer).items():
            tensors[f"optimizer/{name}"] = tensor
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the initial parameters and moments with saved ones."""
        own, saved = self._phi.trainable(), under("phi/", tensors)
        if own.keys() != saved.keys():
            raise ValueError(f"found {len(saved)} tensors of phi, expected {len(own)}")
        for name, value in own.items():
            value.copy_(saved[name])
        load_optimizer_tensors(self._optimizer, under("optimizer/", tensors))


def _error(
    loss: Literal["epsilon", "v", "flow"],
    error: Float[Tensor, "batch channels height width"],
    levels: NoiseLevels,
) -> Float[Tensor, "batch channels height width"]:
    """Return the error of what the loss measures, from the error of the noise."""
    match loss:
        case "epsilon":
            return error
        case "v":
            return error / levels.alpha
        case "flow":
            return error * (levels.alpha + levels.sigma) / levels.alpha
        case _:
            assert_never(loss)


def _backward(mean: Float[Tensor, ""], count: int, parameters: Iterable[Tensor]) -> None:
    """Differentiate a mean over `count` numbers, whose gradient float16 could not hold.

    Each number's share is below float16's smallest, so the gradient of the sum goes through the
    network instead. The factor is a power of two, so that float32 gives the same bits.
    """
    scale = 2.0 ** math.floor(math.log2(count))
    (scale * mean).backward()
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(scale)


def pose_rows(cameras: Cameras) -> Float[Tensor, "batch 16"]:
    """Return each camera's pose, row by row."""
    return cameras.camera_to_world.flatten(start_dim=1)
