"""The view classifier: which side of a known object an image shows.

It judges the prior's samples and finished assets. Their prompts name the object, which is
given to the classifier, so that it only has to find the side. It knows only the objects of
`shapes.DISTINCT_SIDES`: the others have no front. It is trained on true renders and
never takes part in an optimisation.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.toybox.captions import VIEWS
from dreamfusion_kit.toybox.shapes import DISTINCT_SIDES

OBJECTS: tuple[str, ...] = tuple(sorted(DISTINCT_SIDES))
"""The objects that the classifier knows, in the order of its numbering."""

_IMAGE_SIZE_PX = 64
_GRID = 4  # the place of a part matters: positions are kept, not averaged
_GROUPS = 8


class ViewModel(nn.Module):
    """A convolutional network with features scaled and shifted by object (Perez et al. 2018)."""

    def __init__(self, channels: tuple[int, ...], *, seed: int) -> None:
        """Draw initial weights from `seed`; `channels` are the channels of each halving level."""
        super().__init__()
        self.channels = channels
        with torch.random.fork_rng(devices=[]):
            # The layers initialise from the global generator only.
            torch.manual_seed(seed)
            sizes = zip((3, *channels), channels, strict=False)
            self.levels = nn.ModuleList(_Level(*size) for size in sizes)
            self.head = nn.Linear(channels[-1] * _GRID**2, len(VIEWS))

    def forward(
        self, images: Float[Tensor, "batch h w 3"], object_index: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch views"]:
        """Return logits over `captions.VIEWS`; `object_index` counts in `OBJECTS`.

        Images in [0, 1] of any size are resized to 64 pixels.
        """
        size = (_IMAGE_SIZE_PX, _IMAGE_SIZE_PX)
        features = nn.functional.interpolate(images.permute(0, 3, 1, 2), size, mode="area") * 2 - 1
        for level in self.levels:
            features = level(features, object_index)
        pooled = nn.functional.adaptive_avg_pool2d(features, _GRID)
        return self.head(pooled.flatten(1))

    @torch.no_grad()
    def views(self, images: Float[Tensor, "batch h w 3"], object_name: str) -> list[str]:
        """Return the view word of each image of an object with distinct sides."""
        device = next(self.parameters()).device
        index = torch.full((len(images),), OBJECTS.index(object_name), device=device)
        return [VIEWS[view] for view in self(images.to(device), index).argmax(dim=1).tolist()]

    def save(self, directory: Path) -> None:
        """Write half-precision weights, and what their numbers stand for."""
        directory.mkdir(parents=True, exist_ok=True)
        half = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        save_file(half, directory / "model.safetensors")
        (directory / "config.json").write_text(json.dumps(self._config(), indent=2) + "\n")

    def _config(self) -> dict[str, Any]:
        return {"channels": list(self.channels), "objects": list(OBJECTS), "views": list(VIEWS)}


class _Level(nn.Module):
    """Halve the resolution by a convolution, normalise, scale and shift by the object."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, out_channels)
        self.object = nn.Embedding(len(OBJECTS), 2 * out_channels)
        nn.init.zeros_(self.object.weight)

    def forward(
        self, features: Float[Tensor, "batch channels h w"], object_index: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch features height width"]:
        scale, shift = self.object(object_index)[..., None, None].chunk(2, dim=1)
        normal = self.norm(self.convolution(features))
        return nn.functional.silu(normal * (1 + scale) + shift)


def load_view_model(directory: Path, *, device: torch.device | str = "cpu") -> ViewModel:
    """Return the classifier that `ViewModel.save` wrote, in float32 and evaluation mode.

    Raises `WeightsError` if a file is missing or damaged, or if the classifier was trained for
    other objects or views than the toybox has.
    """
    try:
        config = json.loads((directory / "config.json").read_text())
        model = ViewModel(tuple(config["channels"]), seed=0)
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{directory}: found no view classifier that loads ({type(error).__name__}: {reason}), "
            f"expected config.json and model.safetensors; run `{command_name()} toybox train-view`"
        ) from error
    known, expected = (config.get("objects"), config.get("views")), (list(OBJECTS), list(VIEWS))
    if known != expected:
        raise WeightsError(
            f"{directory}: found a classifier of {known}, expected {expected}; "
            f"run `{command_name()} toybox train-view`"
        )
    return model.float().to(device).eval()
