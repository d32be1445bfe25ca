"""Stable Diffusion 1.5, 2.1-base and SDXL: a U-Net on a VAE's latents.

The directory is diffusers' own: `vae/`, `unet/`, `scheduler/`, `tokenizer/`, `text_encoder/`
and, for SDXL, `tokenizer_2/` and `text_encoder_2/`, which identify it. SDXL's U-Net
also reads a pooled text feature and six numbers on the picture's size and crop (Podell et al.
2023, s. 2.2); they are given as an uncropped picture of the recipe's size.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.config.components import (
    LATENT_UNET,
    SECOND_ENCODER,
    names_component,
    read_index,
    zeros_for_empty_prompts,
)
from dreamfusion_kit.priors.directory import load_model, load_schedule
from dreamfusion_kit.priors.latent_space import encode_images, load_encoder
from dreamfusion_kit.priors.network.offload import placed
from dreamfusion_kit.priors.prediction import PredictionType, to_epsilon
from dreamfusion_kit.priors.pretrained import PretrainedPrior
from dreamfusion_kit.priors.source.parts import NOTHING
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.text_encoders import clip_hidden, clip_penultimate
from dreamfusion_kit.recipe.schema import LatentUnetSection


@final
class LatentUnetPrior(PretrainedPrior):
    """A U-Net that denoises latents, conditioned on one CLIP (SD) or two (SDXL)."""

    def __init__(
        self,
        section: LatentUnetSection,
        directory: Path,
        device: torch.device | str,
        additions: Mapping[str, Path] = NOTHING,
    ) -> None:
        """Check the directory's index and read its noise schedule."""
        read_index(directory, LATENT_UNET)
        self._is_xl = names_component(directory, "text_encoder_2")
        if self._is_xl:
            read_index(directory, SECOND_ENCODER)
        super().__init__(directory, device, section.dtype, offload=section.cpu_offload)
        self._section = section
        self._adapted = Adapted(section, directory, additions)
        self.schedule, prediction_type = load_schedule(directory, self._device)
        self._prediction_type: PredictionType = prediction_type

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return hidden states, and for SDXL the pooled feature beside them."""
        place, device = self._directory, self._device
        options: Any = {
            "adapted": self._adapted,
            "chunk": self._section.long_prompts == "chunk",
        }
        if not self._is_xl:
            return TextFeatures({"hidden": clip_hidden(place, prompts, device, **options)})
        first, _ = clip_penultimate(place, "", "CLIPTextModel", prompts, device, **options)
        second, pooled = clip_penultimate(
            place, "_2", "CLIPTextModelWithProjection", prompts, device, **options
        )
        hidden = torch.cat([first, second], dim=-1)
        if zeros_for_empty_prompts(self._directory):
            # SDXL's unconditional branch was trained on zeros, not on an encoded "".
            kept = torch.tensor([bool(prompt) for prompt in prompts], device=self._device)
            hidden, pooled = hidden * kept[:, None, None], pooled * kept[:, None]
        return TextFeatures({"hidden": hidden, "pooled": pooled})

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
        tensors = {name: rows.to(self._device) for name, rows in text.tensors.items()}
        added = self._added(tensors, len(noisy)) if self._is_xl else None
        hidden = tensors["hidden"].to(self._dtype)
        output = denoiser(noisy.to(self._dtype), timestep, hidden, added_cond_kwargs=added).sample
        return to_epsilon(
            output.to(noisy.dtype),
            noisy,
            self.alpha_t(timestep),
            self.sigma_t(timestep),
            self._prediction_type,
        )

    def _added(self, tensors: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
        """Return SDXL's additional conditions: height, width, top, left, height, width."""
        size = self._section.image_size_px
        numbers = torch.tensor([size, size, 0, 0, size, size], device=self._device)
        return {
            "text_embeds": tensors["pooled"].to(self._dtype),
            "time_ids": numbers.to(self._dtype).expand(batch, -1),
        }

    @cached_property
    def _vae(self) -> torch.nn.Module:
        return load_encoder(self._adapted, self._device)

    def _read_denoiser(self) -> torch.nn.Module:
        unet: Any = load_model(UNet2DConditionModel, self._directory / "unet", dtype=self._dtype)
        self._adapted.adapt(unet, "denoiser")
        unet = unet.to(memory_format=torch.channels_last)
        return placed(unet, self._section, self._device)
