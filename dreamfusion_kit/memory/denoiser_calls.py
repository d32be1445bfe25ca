"""How each denoiser is called: on tensors of the right shapes, without numbers.

Each function returns a `Call` for copies of one model: VSD's phi is called as the prior's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor

from dreamfusion_kit.memory.architectures import Config
from dreamfusion_kit.priors.families.choose import family_of

# From a denoiser and a number of images to its output.
Call = Callable[[Any, int], Tensor]


def unet_or_flow_call(model: Any, side: int, num_tokens: int) -> Call:
    """Return the call of a U-Net, of Stable Diffusion 3 or of AuraFlow.

    Args:
        model: Its configuration says what it reads beside the noisy image.
        side: Of what it denoises, pixels or latents.
        num_tokens: Of the text; a CLIP's that precede T5's are among them.
    """
    config, dtype = model.config, model.dtype

    def call(denoiser: Any, rows: int) -> Tensor:
        noisy = torch.empty(rows, config["in_channels"], side, side, dtype=dtype)
        if isinstance(model, UNet2DConditionModel):
            width = config["encoder_hid_dim"] or config["cross_attention_dim"]
            text = torch.empty(rows, num_tokens, width, dtype=dtype)
            timestep = torch.empty(rows, dtype=torch.int64)
            added = _size_and_crop(config, rows, dtype)
            return denoiser(noisy, timestep, text, added_cond_kwargs=added).sample
        text = torch.empty(rows, num_tokens, config["joint_attention_dim"], dtype=dtype)
        arguments = {"encoder_hidden_states": text, "timestep": torch.empty(rows, dtype=dtype)}
        if reads_clip_too(model):
            pooled = torch.empty(rows, config["pooled_projection_dim"], dtype=dtype)
            arguments["pooled_projections"] = pooled
        return denoiser(hidden_states=noisy, **arguments).sample

    return call


def family_call(model: Any, latents: Tensor, num_tokens: int) -> Call:
    """Return the call of one of the families on latents of the shape of `latents`."""
    family, dtype = family_of(type(model).__name__), model.dtype

    def call(denoiser: Any, rows: int) -> Tensor:
        text = family.text_like(model.config, rows, num_tokens)
        text = {name: values.to(dtype) for name, values in text.items()}
        noisy = torch.empty(rows, *latents.shape[1:], dtype=dtype)
        return family.call(denoiser, noisy, torch.empty(rows), text)

    return call


def reads_clip_too(denoiser: Any) -> bool:
    """Return whether CLIP's tokens precede T5's, as in Stable Diffusion 3."""
    return isinstance(denoiser, SD3Transformer2DModel)


def _size_and_crop(config: Config, rows: int, dtype: torch.dtype) -> dict[str, Tensor] | None:
    """Return SDXL's additional conditions."""
    if config["addition_embed_type"] != "text_time":
        return None
    num_times = 6
    pooled = (
        config["projection_class_embeddings_input_dim"]
        - num_times * config["addition_time_embed_dim"]
    )
    return {
        "text_embeds": torch.empty(rows, pooled, dtype=dtype),
        "time_ids": torch.empty(rows, num_times, dtype=dtype),
    }
