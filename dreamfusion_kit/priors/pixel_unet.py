"""A pixel-space diffusion model in an ordinary diffusers directory.

The directory holds `model_index.json` and the folders it names: `tokenizer/`,
`text_encoder/`, `unet/`, `scheduler/`. It is the layout of a Stable Diffusion pipeline
without the VAE. Only safetensors and JSON are read, and only from the local disk.

A U-Net of `3 patch^2` input channels reads square patches of pixels as channels (Hoogeboom
et al. 2023, "Simple diffusion", s. 3.2). Folding only permutes numbers, so the model's
noise is the image's noise, folded.
"""

import json
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast, final

import torch
from diffusers import (
    DDPMScheduler,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.base import NoiseSchedule, Prior, to_pixel_space
from dreamfusion_kit.priors.lora import LoraUnet
from dreamfusion_kit.priors.prediction import PREDICTION_TYPES, PredictionType, to_epsilon
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import PixelUnetPrior as PixelUnetSection

COMPONENTS = {
    "unet": "UNet2DConditionModel",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "",  # any class: the folder's own configuration names it
    "scheduler": "DDPMScheduler",
}


@final
class PixelUnetPrior(Prior):
    """A U-Net that denoises pixels in [-1, 1], conditioned on CLIP text features.

    The text encoder is in memory only while it encodes, and the U-Net is read at the
    first prediction, so that the two never share memory (the embed stage needs one, the
    optimisation the other).
    """

    def __init__(
        self, section: PixelUnetSection, directory: Path, device: torch.device | str
    ) -> None:
        """Check the directory's index and read its noise schedule."""
        _check_model_index(directory)
        self._directory = directory
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, section.dtype)
        self._image_size_px = section.image_size_px
        self._patch_size = _patch_size(directory, section.image_size_px)
        with _readable(directory / "scheduler"):
            loaded = DDPMScheduler.from_pretrained(directory / "scheduler", local_files_only=True)
        scheduler = cast(DDPMScheduler, loaded)
        self._prediction_type: PredictionType = _prediction_type(directory, scheduler)
        self.schedule = NoiseSchedule(scheduler.alphas_cumprod.to(self._device, torch.float32))

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the encoder's last hidden states, padded to its full length."""
        tokens = _tokenize(self._directory / "tokenizer", prompts).to(self._device)
        # float32 whatever the U-Net's dtype: it runs once, and predict casts what it gives.
        encoder = _load(CLIPTextModel, self._directory / "text_encoder", dtype=torch.float32)
        with torch.no_grad():
            hidden = encoder.to(self._device)(input_ids=tokens).last_hidden_state
        return TextFeatures({"hidden": hidden})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Map images to [-1, 1] at the size that the U-Net was trained on, patches folded."""
        signed = to_pixel_space(images, self._image_size_px)
        return torch.nn.functional.pixel_unshuffle(signed, self._patch_size)

    @torch.no_grad()
    def predict(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the U-Net's epsilon in float32; a learned variance is cut off."""
        return self._epsilon(self._unet, noisy, timestep, text, None)

    def adapter(self, rank: int, *, generator: torch.Generator) -> LoraUnet:
        """Return the U-Net with LoRA and camera poses."""
        return LoraUnet(self._unet, self._epsilon, rank, generator=generator)

    def _epsilon(
        self,
        unet: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
        class_labels: Float[Tensor, "batch features"] | None,
    ) -> Float[Tensor, "batch channels height width"]:
        hidden = text.tensors["hidden"].to(self._device, self._dtype)
        output = unet(noisy.to(self._dtype), timestep, hidden, class_labels=class_labels).sample
        output = output[:, : noisy.shape[1]].to(noisy.dtype)
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        return to_epsilon(output, noisy, alpha_t, sigma_t, self._prediction_type)

    @cached_property
    def _unet(self) -> torch.nn.Module:
        unet = _load(UNet2DConditionModel, self._directory / "unet", dtype=self._dtype)
        # Channels last: 89 against 104 ms for a pair of 64x64 on one AVX2 core (5.5 M weights).
        unet = unet.requires_grad_(False).to(self._device)
        return unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@contextmanager
def _readable(path: Path) -> Generator[None, None, None]:
    """Turn whatever a library says of a folder that it cannot read into a WeightsError."""
    try:
        yield
    except Exception as error:  # The libraries raise a dozen unrelated types here.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path.parent.name}/{path.name}: cannot be read ({reason}); expected the "
            "configuration and safetensors of a diffusers model; fetch the prior again"
        ) from error


def _check_model_index(directory: Path) -> None:
    """Refuse a directory whose index does not name the components that this prior reads."""
    where = f"{directory.name}/model_index.json"
    try:
        index = json.loads((directory / "model_index.json").read_text())
        found = {name: index[name][1] for name in COMPONENTS}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{where}: cannot be read ({type(error).__name__}: {error}); expected the index of a "
            f"diffusers directory naming {', '.join(COMPONENTS)}; fetch the prior again"
        ) from error
    for name, expected in COMPONENTS.items():
        if expected and found[name] != expected:
            raise WeightsError(
                f"{where}: {name} is a {found[name]}; a pixel_unet prior needs a {expected}; "
                "choose another prior.kind or another prior.source"
            )


def _patch_size(directory: Path, image_size_px: int) -> int:
    """Return the side in pixels of the patches that the U-Net reads as channels."""
    with _readable(directory / "unet"):
        config = json.loads((directory / "unet" / "config.json").read_text())
        channels, size = int(config["in_channels"]), int(config["sample_size"])
    patch = math.isqrt(channels // 3)
    if 3 * patch**2 != channels:
        raise WeightsError(
            f"{directory.name}/unet: reads {channels} channels; expected 3 times a square, since "
            "a pixel_unet prior reads pixels; choose another prior.kind or another prior.source"
        )
    if size * patch != image_size_px:
        raise RecipeError(
            f"prior.image_size_px: found {image_size_px}, expected {size * patch}, the size that "
            f"{directory.name}/unet was trained on; change the recipe"
        )
    return patch


def _prediction_type(directory: Path, scheduler: DDPMScheduler) -> PredictionType:
    found = scheduler.config["prediction_type"]
    if found not in PREDICTION_TYPES:
        raise WeightsError(
            f"{directory.name}/scheduler: prediction_type is {found!r}; expected one of "
            f"{', '.join(PREDICTION_TYPES)}; choose another prior.source"
        )
    return cast(PredictionType, found)


def _load(model_class: Any, directory: Path, *, dtype: torch.dtype) -> torch.nn.Module:
    """Load a model from safetensors; refuse weights that do not fit it exactly.

    The libraries only warn of missing weights and go on with random ones.
    """
    with _readable(directory):
        model, report = model_class.from_pretrained(
            directory,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    wrong = [key for kind in ("missing_keys", "mismatched_keys") for key in report[kind]]
    if wrong:
        raise WeightsError(
            f"{directory.parent.name}/{directory.name}: {len(wrong)} weights are missing or of "
            f"another shape, the first {wrong[0]}; expected those of its own config.json; "
            "fetch the prior again"
        )
    return model.eval()


def _tokenize(directory: Path, prompts: Sequence[str]) -> Int[Tensor, "prompts tokens"]:
    """Return token ids padded to the tokenizer's length; no prompt is cut."""
    with _readable(directory):
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    length = tokenizer.model_max_length
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > length:
            raise RecipeError(
                f"prompt {prompt!r}: {len(ids)} tokens with its view words; the prior's text "
                f"encoder reads at most {length}; shorten the prompt"
            )
    padded = tokenizer(list(prompts), padding="max_length", return_tensors="pt")
    return padded.input_ids
