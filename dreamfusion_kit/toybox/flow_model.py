"""`toybox-flow`: a transformer on the toybox's latents, laid out like Stable Diffusion 3."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dreamfusion_kit.toybox.denoiser import Denoiser, Text, guided
from dreamfusion_kit.toybox.latent_settings import FlowTrainingSection
from dreamfusion_kit.toybox.text_model import load_text_encoder, load_tokenizer, token_ids
from dreamfusion_kit.toybox.training import mixed_precision

_NUM_TRAIN_TIMESTEPS = 1000
T5_TOKENS = 1
"""Zeros that stand for T5, which the toybox has not: SD3 was trained with and without it."""


class ToyboxFlow(Denoiser):
    """Frozen text encoders and VAE, and a transformer that predicts a rectified flow's velocity.

    Both CLIPs of the layout come from one trained text encoder: the first has all of its
    layers, the second its first layer alone. SD3 reads hidden states before the last layer, so a
    layer that changes nothing follows.
    """

    pipeline = "StableDiffusion3Pipeline"

    def __init__(self, settings: FlowTrainingSection, vae: AutoencoderKL, text_from: Path) -> None:
        """Draw the transformer's initial weights from `settings.seed`; read the text encoder."""
        super().__init__(vae)
        self.tokenizer: CLIPTokenizer = load_tokenizer(text_from)
        trained = load_text_encoder(text_from)
        self.text_encoders = [
            _followed_by_nothing(trained, num_layers)
            for num_layers in (trained.config.num_hidden_layers, 1)
        ]
        width = sum(encoder.config.hidden_size for encoder in self.text_encoders)
        with torch.random.fork_rng(devices=[]):
            # The library initialises from the global generator only.
            torch.manual_seed(settings.seed)
            self.transformer: SD3Transformer2DModel = SD3Transformer2DModel(
                sample_size=self.latent_size,
                patch_size=settings.patch_size,
                in_channels=vae.config["latent_channels"],
                out_channels=vae.config["latent_channels"],
                num_layers=settings.num_layers,
                num_attention_heads=settings.num_heads,
                attention_head_dim=settings.head_width,
                joint_attention_dim=width,
                caption_projection_dim=settings.num_heads * settings.head_width,
                pooled_projection_dim=width,
                pos_embed_max_size=self.latent_size // settings.patch_size,
                qk_norm="rms_norm",
            )
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)

    @property
    def network(self) -> SD3Transformer2DModel:
        """Return the transformer."""
        return self.transformer

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> Text:
        """Return both encoders' features side by side, then zeros for T5 (Esser 2024, s. 4)."""
        hidden: list[Tensor] = []
        pooled: list[Tensor] = []
        for encoder in self.text_encoders:
            tokens = token_ids(self.tokenizer, captions).to(encoder.device)
            output = encoder(tokens, output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        states = torch.cat(hidden, dim=-1)
        t5 = states.new_zeros(len(states), T5_TOKENS, states.shape[-1])
        return Text(torch.cat([states, t5], dim=1), torch.cat(pooled, dim=-1))

    def loss(
        self,
        latents: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch channels height width"],
        times: Float[Tensor, " batch"],
        text: Text,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error of eps - x at (1 - t) x + t eps (Liu et al. 2022)."""
        t = times[:, None, None, None]
        velocity = self._velocity((1 - t) * latents + t * noise, times, text)
        return torch.nn.functional.mse_loss(velocity, noise - latents)

    def denoise(
        self,
        noise: Float[Tensor, "batch channels height width"],
        text: Text,
        guidance_scale: float,
        num_steps: int,
    ) -> Float[Tensor, "batch channels height width"]:
        """Follow the flow from t = 1 to 0 with Euler's steps of equal length."""
        noisy = noise
        for step in range(num_steps):
            times = noise.new_full((2 * len(noise),), 1 - step / num_steps)
            velocity = self._velocity(noisy.repeat(2, 1, 1, 1), times, text)
            noisy = noisy - guided(velocity, guidance_scale) / num_steps
        return noisy

    def components(self) -> dict[str, Any]:
        """Return Stable Diffusion 3's components but T5; diffusers wants `text_encoder_3=None`."""
        first, second = self.text_encoders
        return {
            "tokenizer": self.tokenizer,
            "tokenizer_2": self.tokenizer,
            "text_encoder": first,
            "text_encoder_2": second,
            "transformer": self.transformer,
            "scheduler": self.scheduler,
        }

    def _velocity(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        times: Float[Tensor, " batch"],
        text: Text,
    ) -> Float[Tensor, "batch channels height width"]:
        with mixed_precision(noisy.device):
            return self.transformer(
                hidden_states=noisy,
                timestep=times * _NUM_TRAIN_TIMESTEPS,
                encoder_hidden_states=text.hidden,
                pooled_projections=text.pooled,
            ).sample.float()


def _followed_by_nothing(trained: CLIPTextModel, num_layers: int) -> CLIPTextModelWithProjection:
    """Return the first layers of a text encoder, then one that adds zero, and no projection."""
    config = copy.deepcopy(trained.config)
    config.num_hidden_layers = num_layers + 1
    config.projection_dim = config.hidden_size
    with torch.random.fork_rng(devices=[]):
        encoder = CLIPTextModelWithProjection(config)
    kept = {
        name: value
        for name, value in trained.state_dict().items()
        if name in encoder.text_model.state_dict() and f"layers.{num_layers}." not in name
    }
    encoder.text_model.load_state_dict(encoder.text_model.state_dict() | kept)
    layer: Any = encoder.text_model.encoder.layers[num_layers]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        encoder.text_projection.weight.copy_(torch.eye(config.hidden_size))
    return encoder.eval().requires_grad_(False)
