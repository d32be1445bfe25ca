"""Low-rank adaptation of a diffusers denoiser (LoRA, arXiv 2106.09685), with camera poses.

    LoRA      W x becomes W x + B A x, with A drawn at random and B zero: at first nothing
              changes. On the attention's projections, as in ProlificDreamer.
    camera    a small network of the pose, added to the embedding of the time (as in
              ProlificDreamer); zero at first.

One mechanism serves U-Nets and transformers: both name their projections alike, and both embed
the time in one module. The copy shares the frozen numbers with the prior's own denoiser, so phi
costs only the memory of its adaptation and the prior predicts as before. peft would draw A from
torch's global generator and put its layers into the prior's own modules.
"""

import copy
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures

# Of an image's own tokens, then of the text's where the two have projections of their own.
_ATTENTION_PROJECTIONS = (
    *(".to_q", ".to_k", ".to_v", ".to_out.0"),
    *(".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out"),
    *(".to_qkv_mlp_proj", ".to_out"),  # FLUX.2's single streams, with their MLP
)
# By class, the module whose output is the embedding of the time alone.
_TIME_EMBEDDINGS: Mapping[str, str] = {
    "UNet2DConditionModel": "time_embedding",
    "SD3Transformer2DModel": "time_text_embed.timestep_embedder",
    "AuraFlowTransformer2DModel": "time_step_proj",
    "Flux2Transformer2DModel": "time_guidance_embed.timestep_embedder",
    "PixArtTransformer2DModel": "adaln_single.emb.timestep_embedder",
    "QwenImageTransformer2DModel": "time_text_embed.timestep_embedder",
    "SanaTransformer2DModel": "time_embed.emb.timestep_embedder",
    "ZImageTransformer2DModel": "t_embedder",
}
_POSE_SIZE = 16

# (denoiser, noisy, timestep, text) -> epsilon: how a prior calls its own denoiser.
Denoise = Callable[[nn.Module, Tensor, Tensor, TextFeatures], Tensor]
# A context inside which the prior's denoiser is on the device that computes.
Resident = Callable[[], AbstractContextManager[object]]


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trainable product of two thin matrices, in float32."""

    def __init__(
        self, base: nn.Linear, rank: int, device: torch.device, generator: torch.Generator
    ) -> None:
        """Draw A with standard deviation 1 / rank (as diffusers does) and leave B zero."""
        super().__init__()
        self.base = base
        down = torch.randn(rank, base.in_features, generator=generator) / rank
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Float[Tensor, "*shape features"]) -> Float[Tensor, "*shape size"]:
        """Return `W x + B A x` in the type of `x`."""
        low = torch.nn.functional.linear(x.float(), self.down)
        return self.base(x) + torch.nn.functional.linear(low, self.up).to(x.dtype)


@final
class LoraDenoiser(Adapter):
    """A denoiser with LoRA on its attention and poses in its time embedding."""

    def __init__(
        self,
        denoiser: nn.Module,
        denoise: Denoise,
        rank: int,
        *,
        device: torch.device,
        generator: torch.Generator,
        resident: Resident = nullcontext,
    ) -> None:
        """Copy the modules of `denoiser`, share its tensors, and insert the trainable parts.

        Args:
            denoiser: The prior's own; it stays as it is.
            denoise: How the prior calls it.
            rank: Rows of A and columns of B.
            device: Holds the trainable parts, wherever the frozen ones are between calls.
            generator: Draws the first values, on the CPU.
            resident: Brings the prior's denoiser to the device, and so what the copy shares.

        Raises:
            RecipeError: if the denoiser has no attention, or no known embedding of the time.
        """
        super().__init__()
        self._denoise = denoise
        self._resident = resident
        self.denoiser = _copy_sharing_tensors(denoiser)
        _insert_lora(self.denoiser, rank, device, generator)
        self._time_embedding = _time_embedding_name(denoiser)
        width = _width(denoiser.get_submodule(self._time_embedding))
        self.camera = _camera_embedding(width, device, generator)

    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
        cameras: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the adapted denoiser's epsilon."""
        time_embedding = self.denoiser.get_submodule(self._time_embedding)
        with _added(time_embedding, self.camera(cameras)):
            return self._denoise(self.denoiser, noisy, timestep, text)

    def resident(self) -> AbstractContextManager[object]:
        """Return a context inside which the shared weights are on the device."""
        return self._resident()


def _copy_sharing_tensors(module: nn.Module) -> nn.Module:
    """Return a copy whose modules are its own, and their dictionaries of tensors the original's.

    What moves the original to a device moves the copy with it.
    """
    tables = [vars(part)[kind] for part in module.modules() for kind in ("_parameters", "_buffers")]
    return copy.deepcopy(module, memo={id(table): table for table in tables})


def _insert_lora(
    denoiser: nn.Module, rank: int, device: torch.device, generator: torch.Generator
) -> None:
    found = {
        name: module
        for name, module in denoiser.named_modules()
        if name.endswith(_ATTENTION_PROJECTIONS) and isinstance(module, nn.Linear)
    }
    if not found:
        raise RecipeError(
            f"prior: its {type(denoiser).__name__} has no attention to adapt; expected "
            f"projections named {', '.join(_ATTENTION_PROJECTIONS)}, as guidance.kind vsd needs; "
            "choose another guidance.kind or prior"
        )
    for name, module in found.items():
        parent, _, child = name.rpartition(".")
        lora = LoraLinear(module, rank, device, generator)
        denoiser.get_submodule(parent).add_module(child, lora)


def _time_embedding_name(denoiser: nn.Module) -> str:
    class_name = type(denoiser).__name__
    if class_name not in _TIME_EMBEDDINGS:
        raise RecipeError(
            f"prior: where vsd's camera would enter a {class_name} is not known; expected one of "
            f"{', '.join(_TIME_EMBEDDINGS)}; choose another guidance.kind or prior"
        )
    return _TIME_EMBEDDINGS[class_name]


def _width(time_embedding: nn.Module) -> int:
    """Return the number of features that a stack of linear layers ends in."""
    return [part for part in time_embedding.modules() if isinstance(part, nn.Linear)][
        -1
    ].out_features


def _camera_embedding(
    width: int, device: torch.device, generator: torch.Generator
) -> nn.Sequential:
    # Built without storage first: nn.Linear would draw from the global generator.
    first = nn.Linear(_POSE_SIZE, width, device="meta").to_empty(device="cpu")
    last = nn.Linear(width, width, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        bound = _POSE_SIZE**-0.5
        first.weight.uniform_(-bound, bound, generator=generator)
        first.bias.zero_()
        last.weight.zero_()
        last.bias.zero_()
    return nn.Sequential(first, nn.SiLU(), last).to(device)


@contextmanager
def _added(module: nn.Module, offset: Float[Tensor, "batch width"]) -> Generator[None, None, None]:
    """Add `offset` to what `module` returns, inside the block alone."""

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output + offset.to(output.dtype)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
