"""Qwen-Image: a double-stream transformer of 20 billion parameters, with a VLM that reads the text.

Its VAE is a video's, given one frame.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from diffusers import (
    AutoencoderKLQwenImage,  # pyright: ignore[reportPrivateImportUsage]
    QwenImagePipeline,  # pyright: ignore[reportPrivateImportUsage]
    QwenImageTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from dreamfusion_kit.priors.families.base import Family, Tensors, padded

_PIPELINE: Any = QwenImagePipeline  # its helpers have no public names


@final
class QwenImage(Family):
    """Qwen-Image."""

    transformer_class: ClassVar[Any] = QwenImageTransformer2DModel
    vae_class: ClassVar[Any] = AutoencoderKLQwenImage
    encoder_class: ClassVar[Any] = Qwen2_5_VLForConditionalGeneration
    pipeline_class: ClassVar[Any] = QwenImagePipeline

    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return hidden states after the template's own words, and which of the rows are text."""
        rows: list[Tensor] = []
        for prompt in prompts:  # one by one: padding on the left would move a row's words
            hidden, _ = pipeline.encode_prompt(
                prompt, device=device, max_sequence_length=num_tokens
            )
            rows.append(hidden[0])
        return padded(rows, num_tokens)

    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return the tokens after those of the template that are dropped."""
        empty = self.pipeline_class(
            **dict.fromkeys(("scheduler", "vae", "text_encoder", "transformer")),
            tokenizer=tokenizer,
        )
        text = empty.prompt_template_encode.format(prompt)
        return len(tokenizer(text).input_ids) - empty.prompt_template_encode_start_idx

    def encode_images(self, vae: Any, signed: Tensor) -> Tensor:
        """Return the one frame's latents, each channel normalised."""
        mean = vae.encode(signed.unsqueeze(2)).latent_dist.mode().squeeze(2)
        centre, spread = (
            torch.tensor(vae.config[key]).to(mean)[:, None, None]
            for key in ("latents_mean", "latents_std")
        )
        return (mean - centre) / spread

    def call(self, transformer: Any, noisy: Tensor, time: Tensor, text: Tensors) -> Tensor:
        """Return the velocity."""
        batch, channels, height, width = noisy.shape
        hidden, mask = text["hidden"], text.get("mask")
        if mask is not None:  # no more padding than the longest row needs
            longest = int(mask.sum(dim=1).max())
            hidden, mask = hidden[:, :longest], mask[:, :longest]
        packed = _PIPELINE._pack_latents(noisy, batch, channels, height, width)
        velocity = transformer(
            hidden_states=packed,
            timestep=time,
            encoder_hidden_states=hidden,
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, height // 2, width // 2)]] * batch,
        ).sample
        # With a scale factor of 1 its sizes are those of the latents themselves.
        unpacked = _PIPELINE._unpack_latents(velocity, height, width, 1)
        return unpacked.squeeze(2)

    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return features of the joint attention's width."""
        return {"hidden": torch.empty(rows, num_tokens, config["joint_attention_dim"])}

    def drop_decoder(self, vae: Any) -> None:
        """Remove the decoder; the encoder counts its layers, so an empty one stays."""
        vae.decoder, vae.post_quant_conv = torch.nn.Identity(), torch.nn.Identity()
