"""The memory of a denoiser's forward, and of VSD's second denoiser.

Attention is counted for the fused kernels, which never hold the scores of all pairs.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dreamfusion_kit.memory.denoiser_calls import Call
from dreamfusion_kit.memory.fused_attention import FusedAttention
from dreamfusion_kit.memory.line import extrapolate
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.memory.meta_model import module_bytes, moved_at_once
from dreamfusion_kit.priors.phi.lora import LoraDenoiser
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema

# Beyond this, counts are extrapolated on a line. It is far above any rank in use.
_LARGEST_RANK = 64


@dataclass(frozen=True)
class DenoiserMemory:
    """Bytes on the device.

    `moved` is what of the weights is there at once where blocks are moved in one by one, `phi`
    VSD's second denoiser with gradient and moments, `learning` what its backward pass holds.
    """

    weights: int = 0
    moved: int = 0
    predicting: int = 0
    phi: int = 0
    learning: int = 0


def denoiser_memory(
    model: Any, guidance: schema.GuidanceSection, noisy: Tensor, call: Call
) -> DenoiserMemory:
    """Return the memory of a model on the meta device.

    Args:
        model: The prior's denoiser.
        guidance: Decides how many texts are read, and whether a second denoiser learns.
        noisy: What one step denoises.
        call: How the model is called.
    """
    with LiveMemory() as memory, torch.device("meta"), FusedAttention(), torch.no_grad():
        call(model, guidance.num_texts * len(noisy))
    found = DenoiserMemory(module_bytes(model), moved_at_once(model), memory.peak_bytes)
    if guidance.adapter_rank is None:
        return found
    phi = extrapolate(
        lambda rank: _phi(model, rank, noisy, call), guidance.adapter_rank, most=_LARGEST_RANK
    )
    # Another network beside the prior has weights of its own; of the same family, so as many.
    own = 0 if guidance.phi_source is None else found.weights
    return replace(found, phi=own + phi.phi, learning=phi.learning)


def _phi(model: Any, rank: int, noisy: Tensor, call: Call) -> DenoiserMemory:
    """Return the bytes of VSD's adapter with gradient and moments, and of its backward pass."""
    batch, channels = noisy.shape[:2]

    def denoise(adapted: Any, *_: Any) -> Tensor:
        return call(adapted, batch)[:, :channels]  # a learned variance is cut off

    meta = torch.device("meta")
    phi = LoraDenoiser(model, denoise, rank, device=meta, generator=torch.Generator())
    trainable = sum(value.nbytes for value in phi.trainable().values())
    with LiveMemory() as memory, meta:
        text = TextFeatures({})  # `call` makes its own
        found = phi(noisy, torch.empty(batch, dtype=torch.int64), text, torch.empty(batch, 16))
        found.square().mean().backward()
    # Each parameter also has two moments, and a gradient, which stays until the next pass.
    return DenoiserMemory(phi=4 * trainable, learning=memory.peak_bytes)
