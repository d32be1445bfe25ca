"""A CLIP that is differentiable in the image, from a transformers directory.

Images are brought to CLIP's size and colours by tensor operations, so that a gradient
reaches them; the evaluation's CLIP rounds to bytes first. Both have the same towers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, final

import torch
from jaxtyping import Float
from pydantic import BaseModel, Field
from torch import Tensor

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.base import ImageTextModel
from dreamfusion_kit.priors.config.json_file import checked, read_object
from dreamfusion_kit.priors.network.attention import repeatable_attention
from dreamfusion_kit.priors.network.clip_files import load_clip_model
from dreamfusion_kit.priors.network.clip_model import padded
from dreamfusion_kit.priors.resize import resized
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.judge import load_tokenizer

_Rgb = Annotated[list[float], Field(min_length=3, max_length=3)]


@final
class ClipTeacher(ImageTextModel):
    """A frozen CLIP in float32."""

    def __init__(self, directory: Path, device: torch.device | str) -> None:
        """Read the model, its tokenizer and the colours that it was trained on."""
        self._model = load_clip_model(directory).to(device)
        try:
            self._tokenize = load_tokenizer(directory)
        except RecipeError as error:
            raise WeightsError(str(error)) from error
        mean, std = _colors(directory)
        self._mean = torch.tensor(mean, device=device)[:, None, None]
        self._std = torch.tensor(std, device=device)[:, None, None]

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return unit features; no prompt is truncated."""
        length = self._model.config.max_tokens
        rows = [self._tokenize(prompt) for prompt in prompts]
        for prompt, ids in zip(prompts, rows, strict=True):
            if len(ids) > length:
                raise RecipeError(
                    f"prompt {prompt!r}: {len(ids)} tokens with its view words; this CLIP reads "
                    f"at most {length}; shorten the prompt"
                )
        # A fixed length, so that a prompt's features do not depend on its neighbours.
        tokens = torch.tensor([padded(ids, length) for ids in rows], device=self._mean.device)
        return TextFeatures({"clip": _unit(self._model.text_features(tokens))})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize to CLIP's square (bicubic, as its own preprocessing) and whiten the colours."""
        side: int = self._model.config.vision["image_size"]
        return (resized(images, side, "bicubic") - self._mean) / self._std

    def similarity(
        self, pixels: Float[Tensor, "batch channels height width"], text: TextFeatures
    ) -> Float[Tensor, " batch"]:
        """Return the cosine of the angle between each image's features and its text's."""
        with repeatable_attention(pixels.device):
            features = self._model.image_features(pixels)
        return (_unit(features) * text.tensors["clip"]).sum(dim=-1)


class _Preprocessor(BaseModel):
    image_mean: _Rgb
    image_std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


def _colors(directory: Path) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the colours that the model was trained on."""
    path = directory / "preprocessor_config.json"
    found = checked(_Preprocessor, read_object(path), f"{directory.name}/{path.name}")
    return found.image_mean, found.image_std


def _unit(features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
    return torch.nn.functional.normalize(features, dim=-1)
