"""Rectified-flow transformers on latents: Stable Diffusion 3 and 3.5, and AuraFlow.

A flow's time t in (0, 1) mixes x_t = (1 - t) x + t epsilon, and the transformer predicts the
velocity epsilon - x. `prediction.py` derives how this becomes the variance-preserving
notation of every guidance: the flow is divided by sqrt((1 - t)^2 + t^2), and nothing else
changes. Timestep i of N stands for t = (i + 1/2) / N, so a recipe's `timestep_min` and
`timestep_max` are fractions of the flow's own time. The scheduler's `shift`, which only
spaces a sampler's steps, is not read.

Models distilled for guidance (Flux dev and schnell, SD3.5 turbo) are refused by their
class or unfit: they take the guidance scale as an input, or were trained for one scale, and
have no unconditional prediction for classifier-free guidance to subtract.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import torch
from diffusers import (
    AuraFlowTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.adapted import Adapted
from dreamfusion_kit.priors.additions import NOTHING
from dreamfusion_kit.priors.base import NoiseSchedule, Prior
from dreamfusion_kit.priors.components import (
    AURA_FLOW_ENCODERS,
    FLOW_TRANSFORMER,
    SD3,
    SD3_ENCODERS,
    SD3_T5,
    read_config,
    read_index,
)
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.latent_space import encode_images, load_encoder
from dreamfusion_kit.priors.lora import LoraDenoiser
from dreamfusion_kit.priors.offload import placed, resident
from dreamfusion_kit.priors.prediction import to_epsilon
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.text_encoders import clip_penultimate, t5_hidden, tokenize
from dreamfusion_kit.recipe.schema import FlowTransformerSection

NUM_TRAIN_TIMESTEPS = 1000


def flow_schedule(num_timesteps: int, device: torch.device | str) -> NoiseSchedule:
    """Return the levels of x_t divided by its length, at the middle t of each interval."""
    t = (torch.arange(num_timesteps, dtype=torch.float64) + 0.5) / num_timesteps
    squared_length = (1 - t).square() + t.square()
    alpha_bar, noise_bar = (1 - t).square() / squared_length, t.square() / squared_length
    return NoiseSchedule(
        alpha_bar.to(torch.float32).to(device), noise_bar.to(torch.float32).to(device)
    )


@final
class FlowTransformerPrior(Prior):
    """A transformer that predicts a flow's velocity, behind the interface of a diffusion.

    Text encoders are in memory only while they encode; VAE and transformer are read when
    they are first needed.
    """

    def __init__(
        self,
        section: FlowTransformerSection,
        directory: Path,
        device: torch.device | str,
        additions: Mapping[str, Path] = NOTHING,
    ) -> None:
        """Check the directory's index; the schedule is the same for every flow."""
        self._class = read_index(directory, FLOW_TRANSFORMER)["transformer"]
        self._is_sd3 = self._class == SD3
        read_index(directory, SD3_ENCODERS if self._is_sd3 else AURA_FLOW_ENCODERS)
        if self._is_sd3 and section.t5_enabled:
            read_index(directory, SD3_T5)
        if not self._is_sd3 and not section.t5_enabled:
            raise RecipeError(
                "prior.t5_enabled: found false; AuraFlow has no other text encoder; expected true"
            )
        self._directory = directory
        self._device = torch.device(device)
        self._section = section
        self._adapted = Adapted(section, directory, additions)
        self._dtype: torch.dtype = getattr(torch, section.dtype)
        self.schedule = flow_schedule(NUM_TRAIN_TIMESTEPS, self._device)

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return hidden states, and for SD3 the pooled feature of both CLIPs."""
        return self._encode_sd3(prompts) if self._is_sd3 else self._encode_aura_flow(prompts)

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize images to the recipe's size and encode them."""
        return encode_images(self._vae, images, self._section.image_size_px)

    @torch.no_grad()
    def predict(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the epsilon that the velocity stands for, in the precision of `noisy`."""
        offload = self._section.cpu_offload
        with resident(self._transformer, self._device, offload=offload) as transformer:
            return self._epsilon(transformer, noisy, timestep, text)

    def adapter(self, rank: int, *, generator: torch.Generator) -> LoraDenoiser:
        """Return the transformer with LoRA and camera poses."""
        offload = self._section.cpu_offload
        return LoraDenoiser(
            self._transformer,
            self._epsilon,
            rank,
            device=self._device,
            generator=generator,
            resident=partial(resident, self._transformer, self._device, offload=offload),
        )

    def _epsilon(
        self,
        transformer: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        length = alpha_t + sigma_t
        flow_time = sigma_t / length
        mixed = (noisy / length[:, None, None, None]).to(self._dtype)
        arguments = {"encoder_hidden_states": text.tensors["hidden"]}
        if self._is_sd3:
            arguments["pooled_projections"] = text.tensors["pooled"]
        arguments = {name: rows.to(self._device, self._dtype) for name, rows in arguments.items()}
        # SD3 counts time in thousandths, in float32 up to its sinusoids: bfloat16 has no 950.5.
        # AuraFlow counts from 0 to 1, in the model's own precision.
        clock = flow_time * NUM_TRAIN_TIMESTEPS if self._is_sd3 else flow_time.to(self._dtype)
        velocity = transformer(hidden_states=mixed, timestep=clock, **arguments).sample
        return to_epsilon(velocity.to(noisy.dtype), noisy, alpha_t, sigma_t, "flow")

    def _encode_sd3(self, prompts: Sequence[str]) -> TextFeatures:
        """Return both CLIPs side by side, zeros to T5's width, then T5 (Esser 2024, s. 4)."""
        parts = [
            clip_penultimate(
                self._directory,
                suffix,
                "CLIPTextModelWithProjection",
                prompts,
                self._device,
                adapted=self._adapted,
            )
            for suffix in ("", "_2")
        ]
        clip = torch.cat([hidden for hidden, _ in parts], dim=-1)
        width = int(read_config(self._directory, "transformer")["joint_attention_dim"])
        clip = torch.nn.functional.pad(clip, (0, width - clip.shape[-1]))
        num_tokens = self._section.t5_tokens
        if self._section.t5_enabled:
            t5 = t5_hidden(
                self._directory,
                "_3",
                "T5EncoderModel",
                prompts,
                self._device,
                num_tokens=num_tokens,
                masked=False,
                adapted=self._adapted,
            )
        else:
            t5 = clip.new_zeros(len(prompts), num_tokens, width)
        pooled = torch.cat([row for _, row in parts], dim=-1)
        return TextFeatures({"hidden": torch.cat([clip, t5], dim=1), "pooled": pooled})

    def _encode_aura_flow(self, prompts: Sequence[str]) -> TextFeatures:
        """Return T5's features with zeros at the padding, as AuraFlow was trained."""
        num_tokens = self._section.t5_tokens
        hidden = t5_hidden(
            self._directory,
            "",
            "UMT5EncoderModel",
            prompts,
            self._device,
            num_tokens=num_tokens,
            masked=True,
            adapted=self._adapted,
        )
        _, mask = tokenize(self._directory / "tokenizer", prompts, num_tokens)
        return TextFeatures({"hidden": hidden * mask[:, :, None].to(hidden)})

    @cached_property
    def _vae(self) -> torch.nn.Module:
        dtype: torch.dtype = getattr(torch, self._section.vae_dtype)
        return load_encoder(
            self._directory, dtype, self._device, other=self._adapted.other_vae(dtype)
        )

    @cached_property
    def _transformer(self) -> torch.nn.Module:
        model_class: Any = SD3Transformer2DModel if self._is_sd3 else AuraFlowTransformer2DModel
        model = load_model(model_class, self._directory / "transformer", dtype=self._dtype)
        return placed(self._adapted.adapt(model, "denoiser"), self._section, self._device)
