"""A pixel-space diffusion model in an ordinary diffusers directory.

The directory holds `model_index.json` and the folders it names: `tokenizer/`,
`text_encoder/`, `unet/`, `scheduler/`. This is the layout of a Stable Diffusion pipeline
without the VAE. Only safetensors and JSON are read, and only from the local disk.

A U-Net of `3 patch^2` input channels reads square patches of pixels as channels (Hoogeboom
et al. 2023, "Simple diffusion", s. 3.2). Folding only permutes numbers, so the model's
noise is the image's noise, folded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.config.components import PIXEL_UNET, read_index
from dreamfusion_kit.priors.config.pixel_patch import patch_size
from dreamfusion_kit.priors.directory import load_model, load_schedule
from dreamfusion_kit.priors.prediction import PredictionType, to_epsilon
from dreamfusion_kit.priors.pretrained import PretrainedPrior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.text_encoders import clip_hidden, t5_hidden
from dreamfusion_kit.recipe.schema import PixelUnetSection

T5_TOKENS = 77  # the length that DeepFloyd IF was trained on


@final
class PixelUnetPrior(PretrainedPrior):
    """A U-Net that denoises pixels in [-1, 1], conditioned on CLIP or T5 text features."""

    def __init__(
        self, section: PixelUnetSection, directory: Path, device: torch.device | str
    ) -> None:
        """Check the directory's index and read its noise schedule."""
        self._text_class = read_index(directory, PIXEL_UNET)["text_encoder"]
        super().__init__(directory, device, section.dtype)
        self._image_size_px = section.image_size_px
        self._patch_size = patch_size(directory, section.image_size_px)
        self.schedule, prediction_type = load_schedule(directory, self._device)
        self._prediction_type: PredictionType = prediction_type

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the encoder's last hidden states, padded to its full length."""
        if self._text_class == "CLIPTextModel":
            return TextFeatures({"hidden": clip_hidden(self._directory, prompts, self._device)})
        hidden = t5_hidden(
            self._directory,
            "",
            self._text_class,
            # As in diffusers' IFPipeline: the model was trained on captions in lower case.
            [prompt.lower() for prompt in prompts],
            self._device,
            num_tokens=T5_TOKENS,
            masked=True,
        )
        return TextFeatures({"hidden": hidden})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Map images to [-1, 1] at the size that the U-Net was trained on, patches folded."""
        signed = to_pixel_space(images, self._image_size_px)
        return torch.nn.functional.pixel_unshuffle(signed, self._patch_size)

    def num_pixels(self, clean: Float[Tensor, "batch channels height width"]) -> int:
        """Return the pixels of the image that the patches were folded from."""
        return super().num_pixels(clean) * self._patch_size**2

    def _epsilon(
        self,
        denoiser: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        hidden = text.tensors["hidden"].to(self._device, self._dtype)
        output = denoiser(noisy.to(self._dtype), timestep, hidden).sample
        # A learned variance is cut off.
        output = output[:, : noisy.shape[1]].to(noisy.dtype)
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        return to_epsilon(output, noisy, alpha_t, sigma_t, self._prediction_type)

    def _read_denoiser(self) -> torch.nn.Module:
        unet = load_model(UNet2DConditionModel, self._directory / "unet", dtype=self._dtype)
        # Channels last: 89 against 104 ms for a pair of 64x64 on one AVX2 core (5.5 M weights).
        return unet.to(self._device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
