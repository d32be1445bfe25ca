"""The sheet of samples that a training draws from time to time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS
from dreamfusion_kit.toybox.training import AveragedWeights

_VIEWS = ("front", "left side", "right side", "back")
_STEPS = 10
_SCALE = 3.0


@runtime_checkable  # the tests check arguments by their annotations
class Sampler(Protocol):
    """A text-to-image model."""

    def sample(
        self, captions: Sequence[str], *, guidance_scale: float, num_steps: int, seed: int
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw one image per caption."""
        ...


def write_sheet(
    model: Sampler, trained: nn.Module, averages: AveragedWeights, scratch: Path, step: int
) -> None:
    """Draw samples with the averaged weights of the part that is trained; the step names them."""
    scratch.mkdir(parents=True, exist_ok=True)
    with averages.used_by(trained):
        sample_sheet(model).save(scratch / f"samples-{step + 1:06d}.png")


def sample_sheet(model: Sampler) -> Image.Image:
    """Return samples: objects across, views down, each column with the same noise throughout."""
    colors = tuple(COLORS)
    subjects = [caption(colors[i % len(colors)], name) for i, name in enumerate(OBJECTS)]
    rows: list[Tensor] = []
    for view in _VIEWS:
        prompts = [f"{subject}, {view} view" for subject in subjects]
        images = model.sample(prompts, guidance_scale=_SCALE, num_steps=_STEPS, seed=0)
        rows.append(torch.cat(list(images.cpu()), dim=1))
    return Image.fromarray((torch.cat(rows) * 255).round().byte().numpy())
