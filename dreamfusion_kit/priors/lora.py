"""Low-rank adaptation of any diffusers U-Net (LoRA, arXiv 2106.09685), with camera poses.

    LoRA      W x becomes W x + B A x, with A drawn at random and B zero: at first nothing
              changes. On the attention's projections, as in ProlificDreamer.
    camera    a small network of the pose, added to the time embedding where diffusers adds
              a class embedding (as in ProlificDreamer); zero at first.

The copy shares the frozen numbers with the prior's own U-Net, so phi costs only the memory of
its adaptation and the prior predicts as before. Drawing A from the kit's
generator and sharing storage take fewer lines here than through the peft package.
"""

import copy
from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures

_ATTENTION_PROJECTIONS = (".to_q", ".to_k", ".to_v", ".to_out.0")
_POSE_SIZE = 16

# (U-Net, noisy, timestep, text, poses) -> epsilon: how a prior calls its own U-Net.
Denoise = Callable[[nn.Module, Tensor, Tensor, TextFeatures, Tensor | None], Tensor]


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trainable product of two thin matrices, in float32."""

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator) -> None:
        """Draw A with standard deviation 1 / rank (as diffusers does) and leave B zero."""
        super().__init__()
        self.base = base
        device = base.weight.device
        down = torch.randn(rank, base.in_features, generator=generator) / rank
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Float[Tensor, "*shape features"]) -> Float[Tensor, "*shape size"]:
        """Return `W x + B A x` in the type of `x`."""
        low = torch.nn.functional.linear(x.float(), self.down)
        return self.base(x) + torch.nn.functional.linear(low, self.up).to(x.dtype)


@final
class LoraUnet(Adapter):
    """A U-Net with LoRA on its attention and poses in its time embedding."""

    def __init__(
        self, unet: nn.Module, denoise: Denoise, rank: int, *, generator: torch.Generator
    ) -> None:
        """Copy the modules of `unet`, share its tensors, and insert the trainable parts."""
        super().__init__()
        self._denoise = denoise
        self.unet = _copy_sharing_tensors(unet)
        _insert_lora(self.unet, rank, generator)
        _insert_camera_embedding(self.unet, generator)

    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
        cameras: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the adapted U-Net's epsilon."""
        return self._denoise(self.unet, noisy, timestep, text, cameras)


def _copy_sharing_tensors(module: nn.Module) -> nn.Module:
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, memo={id(tensor): tensor for tensor in tensors})


def _insert_lora(unet: nn.Module, rank: int, generator: torch.Generator) -> None:
    found = {
        name: module
        for name, module in unet.named_modules()
        if name.endswith(_ATTENTION_PROJECTIONS) and isinstance(module, nn.Linear)
    }
    if not found:
        raise RecipeError(
            "prior: its U-Net has no attention to adapt; expected projections named "
            f"{', '.join(_ATTENTION_PROJECTIONS)}, as guidance.kind vsd needs; choose another "
            "guidance.kind or prior"
        )
    for name, module in found.items():
        parent, _, child = name.rpartition(".")
        unet.get_submodule(parent).add_module(child, LoraLinear(module, rank, generator))


def _insert_camera_embedding(unet: Any, generator: torch.Generator) -> None:
    """Give the U-Net a class embedding that reads poses; diffusers adds it to the time's."""
    if unet.class_embedding is not None:
        raise RecipeError(
            "prior: its U-Net already has a class embedding, where vsd's camera would enter; "
            "expected a U-Net conditioned on text only; choose another guidance.kind or prior"
        )
    size: int = unet.time_embedding.linear_2.out_features
    # Built without storage first: nn.Linear would draw from the global generator.
    first = nn.Linear(_POSE_SIZE, size, device="meta").to_empty(device="cpu")
    last = nn.Linear(size, size, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        bound = _POSE_SIZE**-0.5
        first.weight.uniform_(-bound, bound, generator=generator)
        first.bias.zero_()
        last.weight.zero_()
        last.bias.zero_()
    embedding = nn.Sequential(first, nn.SiLU(), last)
    unet.class_embedding = embedding.to(unet.time_embedding.linear_2.weight.device)
