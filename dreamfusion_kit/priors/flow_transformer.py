"""Rectified-flow transformers on latents: Stable Diffusion 3 and 3.5, and AuraFlow.

A flow's time t in (0, 1) mixes x_t = (1 - t) x + t epsilon, and the transformer predicts the
velocity epsilon - x. `flow.py` says how every guidance reads it as a diffusion.

Models distilled for guidance (Flux dev and schnell, SD3.5 turbo) are refused by their
class or unfit: they take the guidance scale as an input, or were trained for one scale, and
have no unconditional prediction for classifier-free guidance to subtract.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from diffusers import (
    AuraFlowTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.config.components import (
    AURA_FLOW_ENCODERS,
    FLOW_TRANSFORMER,
    SD3,
    SD3_ENCODERS,
    SD3_T5,
    read_config,
    read_index,
)
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.flow import NUM_TRAIN_TIMESTEPS, flow_input, flow_schedule
from dreamfusion_kit.priors.latent_space import encode_images, load_encoder
from dreamfusion_kit.priors.network.offload import placed
from dreamfusion_kit.priors.prediction import to_epsilon
from dreamfusion_kit.priors.pretrained import PretrainedPrior
from dreamfusion_kit.priors.source.parts import NOTHING
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.text_encoders import clip_penultimate, t5_hidden, tokenize
from dreamfusion_kit.recipe.schema import FlowTransformerSection


@final
class FlowTransformerPrior(PretrainedPrior):
    """A transformer that predicts a flow's velocity, behind the interface of a diffusion."""

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
        super().__init__(directory, device, section.dtype, offload=section.cpu_offload)
        self._section = section
        self._adapted = Adapted(section, directory, additions)
        self.schedule = flow_schedule(NUM_TRAIN_TIMESTEPS, self._device)

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return hidden states, and for SD3 the pooled feature of both CLIPs."""
        return self._encode_sd3(prompts) if self._is_sd3 else self._encode_aura_flow(prompts)

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize images to the recipe's size and encode them."""
        return encode_images(self._vae, images, self._section.image_size_px)

    def _epsilon(
        self,
        denoiser: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        mixed, time = flow_input(noisy, alpha_t, sigma_t)
        arguments = {"encoder_hidden_states": text.tensors["hidden"]}
        if self._is_sd3:
            arguments["pooled_projections"] = text.tensors["pooled"]
        arguments = {name: rows.to(self._device, self._dtype) for name, rows in arguments.items()}
        # SD3 counts time in thousandths, in float32 up to its sinusoids: bfloat16 has no 950.5.
        # AuraFlow counts from 0 to 1, in the model's own precision.
        clock = time * NUM_TRAIN_TIMESTEPS if self._is_sd3 else time.to(self._dtype)
        mixed = mixed.to(self._dtype)
        velocity = denoiser(hidden_states=mixed, timestep=clock, **arguments).sample
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
        return load_encoder(self._adapted, self._device)

    def _read_denoiser(self) -> torch.nn.Module:
        model_class: Any = SD3Transformer2DModel if self._is_sd3 else AuraFlowTransformer2DModel
        model = load_model(model_class, self._directory / "transformer", dtype=self._dtype)
        return placed(self._adapted.adapt(model, "denoiser"), self._section, self._device)
