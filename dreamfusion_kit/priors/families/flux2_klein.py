"""FLUX.2 [klein] base: two kinds of streams, Qwen3's middle layers, latents in normalised patches.

Of the FLUX.2 models only klein-base was published before distillation.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from diffusers import (
    AutoencoderKLFlux2,  # pyright: ignore[reportPrivateImportUsage]
    Flux2KleinPipeline,  # pyright: ignore[reportPrivateImportUsage]
    Flux2Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from transformers import Qwen3ForCausalLM

from dreamfusion_kit.priors.families.base import (
    Family,
    Tensors,
    qwen3_template,
    qwen3_tokens,
    vae_pipeline,
)

_PIPELINE: Any = Flux2KleinPipeline  # its helpers have no public names


@final
class Flux2Klein(Family):
    """FLUX.2 [klein] base, 4B and 9B."""

    transformer_class: ClassVar[Any] = Flux2Transformer2DModel
    vae_class: ClassVar[Any] = AutoencoderKLFlux2
    encoder_class: ClassVar[Any] = Qwen3ForCausalLM
    pipeline_class: ClassVar[Any] = Flux2KleinPipeline
    folded_side = 2

    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return three layers side by side, padding included, which the model reads."""
        qwen3_template(pipeline.tokenizer)
        hidden, _ = pipeline.encode_prompt(
            list(prompts), device=device, max_sequence_length=num_tokens
        )
        return {"hidden": hidden}

    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return the tokens with the template."""
        return qwen3_tokens(tokenizer, prompt, enable_thinking=False)

    def encode_images(self, vae: Any, signed: Tensor) -> Tensor:
        """Return patches of 2 x 2 latents as channels, normalised by the VAE's statistics."""
        return vae_pipeline(self, vae)._encode_vae_image(signed, generator=None)

    def call(self, transformer: Any, noisy: Tensor, time: Tensor, text: Tensors) -> Tensor:
        """Return the velocity."""
        hidden = text["hidden"]
        velocity = transformer(
            hidden_states=_PIPELINE._pack_latents(noisy),
            timestep=time,
            guidance=None,
            encoder_hidden_states=hidden,
            txt_ids=_PIPELINE._prepare_text_ids(hidden).to(noisy.device),
            img_ids=_PIPELINE._prepare_latent_ids(noisy).to(noisy.device),
        ).sample
        return velocity.transpose(1, 2).reshape(noisy.shape)

    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return features of the joint attention's width."""
        return {"hidden": torch.empty(rows, num_tokens, config["joint_attention_dim"])}
