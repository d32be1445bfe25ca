"""Image and caption features by any CLIP in transformers format.

The judge never takes part in an optimisation: its features carry no gradient.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError, RecipeError, WeightsError
from dreamfusion_kit.image_files import quantized
from dreamfusion_kit.priors.network.clip_files import load_clip_model
from dreamfusion_kit.priors.network.clip_model import ClipModel, padded
from dreamfusion_kit.recipe.judge import ADVICE, load_tokenizer

_BATCH_SIZE = 32


@dataclass(frozen=True)
class Preprocessing:
    """How a CLIP's images are resized, cropped and normalised, by its preprocessor_config.json."""

    size_px: int
    crop_px: int
    resample: Image.Resampling
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self, images: UInt8[np.ndarray, "batch h w 3"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return square images of bytes as normalised pixels, channels first."""
        return torch.stack([self._pixels(image) for image in images])

    def _pixels(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 height width"]:
        resized = Image.fromarray(image).resize((self.size_px, self.size_px), self.resample)
        border = (self.size_px - self.crop_px) // 2
        box = (border, border, border + self.crop_px, border + self.crop_px)
        # float64 first, then float32: transformers rescales this way.
        scaled = (np.asarray(resized.crop(box)) * (1 / 255)).astype(np.float32)
        mean, std = (np.array(part, dtype=np.float32) for part in (self.mean, self.std))
        return torch.from_numpy((scaled - mean) / std).permute(2, 0, 1)


@dataclass(frozen=True)
class Clip:
    """A CLIP in evaluation mode with its own tokenizer and image preprocessing."""

    model: ClipModel
    tokenize: Callable[[str], list[int]]
    preprocess: Preprocessing

    @property
    def device(self) -> torch.device:
        """Return the device of the towers."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def image_features(
        self, images: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch features"]:
        """Return unit features of square images in [0, 1], on the CPU.

        Images are rounded to bytes first, so that a view saved as PNG has the same features.
        """
        pixels = self.preprocess(quantized(images))
        return _unit(
            [self.model.image_features(part.to(self.device)) for part in pixels.split(_BATCH_SIZE)]
        )

    @torch.no_grad()
    def text_features(self, captions: Sequence[str]) -> Float[Tensor, "captions features"]:
        """Return unit features of captions, on the CPU.

        Raises `EvaluationError` if a caption is longer than the text encoder can read.
        """
        length = self.model.config.max_tokens
        # A fixed length, so that a caption's features do not depend on its neighbours.
        tokens = torch.tensor([padded(self._tokens(text, length), length) for text in captions])
        return _unit(
            [self.model.text_features(part.to(self.device)) for part in tokens.split(_BATCH_SIZE)]
        )

    def _tokens(self, caption: str, length: int) -> list[int]:
        tokens = self.tokenize(caption)
        if len(tokens) > length:
            raise EvaluationError(
                f"caption {caption!r}: found {len(tokens)} tokens, expected at most {length} for "
                f"this CLIP; {ADVICE}"
            )
        return tokens


def load_clip(directory: Path, *, device: torch.device | str = "cpu") -> Clip:
    """Return the CLIP stored in a local directory, in float32. No code of the directory runs.

    Raises `WeightsError` if a file is missing or damaged, or if the checkpoint leaves a
    parameter unset.
    """
    if not (directory / "config.json").is_file():
        raise WeightsError(
            f"{directory}: found no config.json, expected a CLIP in transformers format; "
            "check evaluation.clip in params.yaml and run the fetch stage"
        )
    try:
        tokenize = load_tokenizer(directory)
    except RecipeError as error:
        raise WeightsError(str(error)) from error
    model = load_clip_model(directory).to(device)
    return Clip(model, tokenize, load_preprocessing(directory / "preprocessor_config.json"))


def load_preprocessing(path: Path, *, crops: bool = True) -> Preprocessing:
    """Return what a preprocessor_config.json says.

    Args:
        path: The file.
        crops: Whether the model's images are resized and then cropped, as a CLIP's are.

    Raises:
        WeightsError: if the file is damaged or asks for anything else.
    """
    steps = ["do_resize", "do_rescale", "do_normalize", *(["do_center_crop"] if crops else [])]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for step in steps:
            if found.get(step, True) is not True:
                raise ValueError(f"{step} {found[step]!r}")
        if abs(found.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
            raise ValueError(f"rescale_factor {found['rescale_factor']!r}")
        size = _side(found["size"])
        crop = _side(found["crop_size"]) if crops else size
        if not 0 < crop <= size < 1 << 14:
            raise ValueError(f"size {size} and crop_size {crop}")
        mean, std = (tuple(map(float, found[key])) for key in ("image_mean", "image_std"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"image_mean {mean} and image_std {std}")
        return Preprocessing(size, crop, Image.Resampling(found.get("resample", 3)), mean, std)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = "a CLIP: resize, square crop" if crops else "a BLIP: resize"
        raise WeightsError(
            f"{path}: cannot be read ({type(error).__name__}: {error}), expected the image "
            f"preprocessing of {what}, rescale, normalise; fetch it again"
        ) from error


def _side(size: Any) -> int:
    """Return the side of a square: a number in old files, a mapping in new ones."""
    if isinstance(size, dict):
        sides = {size[key] for key in ("shortest_edge", "height", "width") if key in size}
        if len(sides) != 1:
            raise ValueError(f"size {size!r}")
        size = sides.pop()
    if not isinstance(size, int):
        raise TypeError(f"size {size!r}")
    return size


def _unit(features: list[Tensor]) -> Float[Tensor, "batch features"]:
    return torch.nn.functional.normalize(torch.cat(features).float(), dim=-1).cpu()
