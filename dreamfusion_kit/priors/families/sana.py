"""Sana: linear attention on latents 32 times smaller than the picture, with Gemma 2.

The model was trained with an instruction before every prompt but the empty one, which is its
unconditional branch. A negative prompt of the recipe is read with the instruction as well.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from diffusers import (
    AutoencoderDC,  # pyright: ignore[reportPrivateImportUsage]
    SanaPipeline,  # pyright: ignore[reportPrivateImportUsage]
    SanaTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from transformers import Gemma2Model

from dreamfusion_kit.priors.families.base import Family, Tensors

# The instruction is a default of the pipeline's call, which is the only place that has it.
_INSTRUCTION: list[str] = (
    inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
)
_THOUSANDTHS = 1000


@final
class Sana(Family):
    """Sana 0.6B, 1.6B and 4.8B at 512 or 1024 px."""

    transformer_class: ClassVar[Any] = SanaTransformer2DModel
    vae_class: ClassVar[Any] = AutoencoderDC
    encoder_class: ClassVar[Any] = Gemma2Model
    pipeline_class: ClassVar[Any] = SanaPipeline

    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return hidden states and their mask, with the instruction before all but the empty."""
        hidden: list[Tensor] = []
        masks: list[Tensor] = []
        for prompt in prompts:
            rows, mask, _, _ = pipeline.encode_prompt(
                prompt,
                do_classifier_free_guidance=False,
                device=device,
                max_sequence_length=num_tokens,
                complex_human_instruction=_INSTRUCTION if prompt else None,
            )
            hidden.append(rows)
            masks.append(mask.bool())
        return {"hidden": torch.cat(hidden), "mask": torch.cat(masks)}

    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return the tokens of the prompt after the instruction, and two that the model adds."""
        start = "\n".join(_INSTRUCTION)
        return len(tokenizer.encode(start + prompt)) - len(tokenizer.encode(start)) + 2

    def encode_images(self, vae: Any, signed: Tensor) -> Tensor:
        """Return scaled latents; this autoencoder has no spread to take the mean of."""
        return vae.encode(signed).latent * vae.config.scaling_factor

    def call(self, transformer: Any, noisy: Tensor, time: Tensor, text: Tensors) -> Tensor:
        """Return the velocity; a learned variance is cut off."""
        found = transformer(
            noisy,
            encoder_hidden_states=text["hidden"],
            encoder_attention_mask=text.get("mask"),
            timestep=time * _THOUSANDTHS * transformer.config.timestep_scale,
        ).sample
        return found[:, : noisy.shape[1]]

    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return features of the captions' width."""
        return {"hidden": torch.empty(rows, num_tokens, config["caption_channels"])}
