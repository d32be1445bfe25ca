"""PixArt-Sigma: a diffusion transformer of 0.6 billion parameters on SDXL's latents, with T5."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from diffusers import (
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    PixArtSigmaPipeline,  # pyright: ignore[reportPrivateImportUsage]
    PixArtTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from transformers import T5EncoderModel

from dreamfusion_kit.priors.families.base import Family, Tensors
from dreamfusion_kit.priors.latent_space import scaled_mean


@final
class PixArtSigma(Family):
    """PixArt-Sigma at 256 to 2048 px; it predicts epsilon."""

    transformer_class: ClassVar[Any] = PixArtTransformer2DModel
    vae_class: ClassVar[Any] = AutoencoderKL
    encoder_class: ClassVar[Any] = T5EncoderModel
    pipeline_class: ClassVar[Any] = PixArtSigmaPipeline
    prediction: ClassVar[Literal["flow", "epsilon"]] = "epsilon"

    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return T5's hidden states and their mask."""
        hidden, mask, _, _ = pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            device=device,
            max_sequence_length=num_tokens,
        )
        return {"hidden": hidden, "mask": mask.bool()}

    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return the tokens of the prompt in small letters, as the model reads it."""
        return len(tokenizer(prompt.lower().strip()).input_ids)

    def encode_images(self, vae: Any, signed: Tensor) -> Tensor:
        """Return scaled latents."""
        return scaled_mean(vae, signed)

    def call(self, transformer: Any, noisy: Tensor, time: Tensor, text: Tensors) -> Tensor:
        """Return epsilon; the learned variance is cut off."""
        found = transformer(
            noisy,
            encoder_hidden_states=text["hidden"],
            encoder_attention_mask=text.get("mask"),
            timestep=time,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample
        return found[:, : noisy.shape[1]]

    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return features of the captions' width."""
        return {"hidden": torch.empty(rows, num_tokens, config["caption_channels"])}
