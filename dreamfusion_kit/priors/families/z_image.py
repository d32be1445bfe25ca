"""Z-Image (base): one stream over text and patches, Qwen3's last layer but one.

Its time runs from noise (0) to image (1), and its output points the same way.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from diffusers import (
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    ZImagePipeline,  # pyright: ignore[reportPrivateImportUsage]
    ZImageTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from transformers import Qwen3ForCausalLM

from dreamfusion_kit.priors.families.base import (
    Family,
    Tensors,
    padded,
    qwen3_template,
    qwen3_tokens,
)
from dreamfusion_kit.priors.latent_space import scaled_mean


@final
class ZImage(Family):
    """Z-Image before its distillation into Turbo."""

    transformer_class: ClassVar[Any] = ZImageTransformer2DModel
    vae_class: ClassVar[Any] = AutoencoderKL
    encoder_class: ClassVar[Any] = Qwen3ForCausalLM
    pipeline_class: ClassVar[Any] = ZImagePipeline

    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return hidden states without padding, and which of the rows are text."""
        qwen3_template(pipeline.tokenizer)
        rows, _ = pipeline.encode_prompt(
            list(prompts),
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=num_tokens,
        )
        return padded(rows, num_tokens)

    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return the tokens with the template."""
        return qwen3_tokens(tokenizer, prompt, enable_thinking=True)

    def encode_images(self, vae: Any, signed: Tensor) -> Tensor:
        """Return scaled latents."""
        return scaled_mean(vae, signed)

    def call(self, transformer: Any, noisy: Tensor, time: Tensor, text: Tensors) -> Tensor:
        """Return the velocity, which is the output reversed."""
        mask = text.get("mask")
        captions = list(text["hidden"])
        if mask is not None:
            captions = [row[: int(kept.sum())] for row, kept in zip(captions, mask, strict=True)]
        images = list(noisy.unsqueeze(2).unbind(dim=0))
        found = transformer(images, 1 - time, captions).sample
        return -torch.stack(list(found)).squeeze(2)

    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return features of the captions' width."""
        return {"hidden": torch.empty(rows, num_tokens, config["cap_feat_dim"])}
