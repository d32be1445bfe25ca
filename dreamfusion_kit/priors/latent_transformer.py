"""Today's open text-to-image transformers with a true unconditional branch, on latents.

FLUX.2 [klein] base, Z-Image, Qwen-Image, Sana and PixArt-Sigma. The transformer's class in the
directory's index tells them apart; `families/` holds what differs. A flow is read as
`flow.py` explains.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.config.components import TRANSFORMERS, read_index
from dreamfusion_kit.priors.directory import load_model, load_schedule
from dreamfusion_kit.priors.families.base import encode_prompts
from dreamfusion_kit.priors.families.choose import family_of
from dreamfusion_kit.priors.flow import NUM_TRAIN_TIMESTEPS, flow_input, flow_schedule
from dreamfusion_kit.priors.latent_space import check_finite
from dreamfusion_kit.priors.network.attention import repeatable_attention
from dreamfusion_kit.priors.network.offload import placed
from dreamfusion_kit.priors.prediction import PredictionType, to_epsilon
from dreamfusion_kit.priors.pretrained import PretrainedPrior
from dreamfusion_kit.priors.source.parts import NOTHING
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import LatentTransformerSection


@final
class LatentTransformerPrior(PretrainedPrior):
    """A transformer of one of the families, behind the interface of a diffusion."""

    def __init__(
        self,
        section: LatentTransformerSection,
        directory: Path,
        device: torch.device | str,
        additions: Mapping[str, Path] = NOTHING,
    ) -> None:
        """Check the directory's index and read its schedule; it is the same for every flow."""
        self._family = family_of(read_index(directory, TRANSFORMERS)["transformer"])
        super().__init__(directory, device, section.dtype, offload=section.cpu_offload)
        self._section = section
        self._adapted = Adapted(section, directory, additions)
        self._prediction: PredictionType = "flow"
        if self._family.prediction == "flow":
            self.schedule = flow_schedule(NUM_TRAIN_TIMESTEPS, self._device)
        else:
            self.schedule, self._prediction = load_schedule(directory, self._device)

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return hidden states in float32, with a mask where the family reads one."""
        return encode_prompts(
            self._family,
            self._directory,
            prompts,
            num_tokens=self._section.text_tokens,
            dtype=getattr(torch, self._section.text_dtype),
            device=self._device,
            adapted=self._adapted,
        )

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize images to the recipe's size and encode them, in the images' own precision."""
        vae: Any = self._vae
        signed = to_pixel_space(images, self._section.image_size_px).to(vae.dtype)
        with repeatable_attention(signed.device):
            latents = self._family.encode_images(vae, signed).to(images.dtype)
        check_finite(latents, vae.dtype)
        return latents

    def num_pixels(self, clean: Float[Tensor, "batch channels height width"]) -> int:
        """Return the cells of the latents, those of a folded patch one by one."""
        return super().num_pixels(clean) * self._family.folded_side**2

    def _epsilon(
        self,
        denoiser: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        if self._prediction == "flow":
            read, time = flow_input(noisy, alpha_t, sigma_t)
        else:
            read, time = noisy, timestep
        rows = {
            name: rows.to(self._device, None if rows.dtype == torch.bool else self._dtype)
            for name, rows in text.tensors.items()
        }
        output = self._family.call(denoiser, read.to(self._dtype), time, rows)
        return to_epsilon(output.to(noisy.dtype), noisy, alpha_t, sigma_t, self._prediction)

    @cached_property
    def _vae(self) -> torch.nn.Module:
        dtype: torch.dtype = getattr(torch, self._section.vae_dtype)
        vae = load_model(self._family.vae_class, self._directory / "vae", dtype=dtype)
        self._family.drop_decoder(vae)
        return vae.to(self._device)

    def _read_denoiser(self) -> torch.nn.Module:
        folder = self._directory / "transformer"
        model = load_model(self._family.transformer_class, folder, dtype=self._dtype)
        return placed(self._adapted.adapt(model, "denoiser"), self._section, self._device)
