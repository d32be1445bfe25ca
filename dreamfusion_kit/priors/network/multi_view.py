"""What makes a single-view U-Net denoise several views of one object together (MVDream).

Shi et al. 2023 (arXiv 2308.16512, s. 3.1) change two things in Stable Diffusion's U-Net:

    attention   self-attention (attn1 in diffusers) runs over the tokens of all views of an object
                at once, with the weights that it had for one view
    camera      a small network of the camera's pose is added to the embedding of the time

The pose is the 4 x 4 camera-to-world matrix, row by row, its translation scaled to length 1: the
direction of the view without its distance. World and camera axes are the kit's own, z up and
OpenGL's camera, in which MVDream's 3D pipeline passes its cameras too.

Both are added to an ordinary `UNet2DConditionModel`, so that all that is written for one
(offloading, LoRA, formats) serves this one too.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, final

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.records import Cameras

CAMERA_FEATURES = 16
CAMERA = "camera_embedding"  # the added child of the U-Net
_SELF_ATTENTION = ".attn1.processor"


@final
class AcrossViews:
    """Self-attention over the tokens of `num_views` consecutive images."""

    def __init__(self, num_views: int) -> None:
        """Attend with PyTorch's fused kernels, as diffusers' own default does."""
        self._num_views = num_views
        self._attend = AttnProcessor2_0()

    def __call__(  # Any: diffusers passes whatever its blocks were given.
        self,
        attn: Any,
        hidden_states: Float[Tensor, "batch tokens width"],
        *others: Any,
        **named: Any,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what each token has seen in all views of its object."""
        batch, tokens, width = hidden_states.shape
        together = hidden_states.reshape(-1, self._num_views * tokens, width)
        return self._attend(attn, together, *others, **named).reshape(batch, tokens, width)


def make_multi_view(unet: nn.Module, num_views: int) -> nn.Module:
    """Give `unet` attention across views and an embedding of the camera; return it.

    The embedding's last layer is zero: until its weights are loaded or trained, the camera
    changes nothing.
    """
    model: Any = unet
    processors = dict(model.attn_processors)
    for name in processors:
        if name.endswith(_SELF_ATTENTION):
            processors[name] = AcrossViews(num_views)
    model.set_attn_processor(processors)
    model.add_module(CAMERA, _camera_embedding(model.time_embedding.linear_2.out_features))
    parameter = next(model.parameters())
    model.get_submodule(CAMERA).to(parameter.device, parameter.dtype)
    return model


def _camera_embedding(width: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the layers initialise from the global generator only
        first, last = nn.Linear(CAMERA_FEATURES, width), nn.Linear(width, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.SiLU(), last)


def camera_rows(cameras: Cameras) -> Float[Tensor, "batch 16"]:
    """Return each pose as the U-Net reads it: row by row, the translation of length 1."""
    pose = cameras.camera_to_world.clone()
    pose[:, :3, 3] = torch.nn.functional.normalize(pose[:, :3, 3], dim=-1)
    return pose.flatten(start_dim=1)


@contextmanager
def seen_from(unet: nn.Module, rows: Float[Tensor, "batch 16"]) -> Generator[None, None, None]:
    """Let `unet` see its images from these cameras, inside the block alone."""
    time_embedding = unet.get_submodule("time_embedding")
    embedding = unet.get_submodule(CAMERA)

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output + embedding(rows.to(output))

    handle = time_embedding.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def changed_tensors(unet: nn.Module) -> dict[str, Tensor]:
    """Return what a U-Net that was fine-tuned for several views has of its own."""
    return {name: value for name, value in unet.state_dict().items() if is_changed(name)}


def is_changed(name: str) -> bool:
    """Return whether fine-tuning for several views changes the tensor of this name.

    It is the camera's embedding, the layers that read it with the time's, or self-attention.
    """
    return name.startswith(f"{CAMERA}.") or ".time_emb_proj." in name or ".attn1." in name
