"""Image and caption features by any CLIP in transformers format.

The judge never takes part in an optimisation: its features carry no gradient.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerBase

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.evaluation.clip_text import check_lengths
from dreamfusion_kit.image_files import quantized
from dreamfusion_kit.priors.clip_directory import (
    load_clip_model,
    load_clip_tokenizer,
    readable_clip,
)

_BATCH_SIZE = 32


@dataclass(frozen=True)
class Clip:
    """A CLIP in evaluation mode with its own tokenizer and image preprocessing."""

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase
    processor: CLIPImageProcessorPil

    @torch.no_grad()
    def image_features(
        self, images: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch features"]:
        """Return unit features of images in [0, 1], on the CPU.

        Images are rounded to bytes first, so that a view saved as PNG has the same features.
        """
        pixels = self.processor(
            list(quantized(images)), input_data_format="channels_last", return_tensors="pt"
        )["pixel_values"]
        features = [
            _pooled(self.model.get_image_features(pixel_values=part.to(self.model.device)))
            for part in pixels.split(_BATCH_SIZE)
        ]
        return _unit(features)

    @torch.no_grad()
    def text_features(self, captions: list[str]) -> Float[Tensor, "captions features"]:
        """Return unit features of captions, on the CPU.

        Raises `EvaluationError` where a caption is longer than the text encoder reads.
        """
        text_config: Any = self.model.config.text_config
        length: int = text_config.max_position_embeddings
        # A fixed length, so that a caption's features do not depend on its neighbours.
        tokens = self.tokenizer(captions, padding="max_length", max_length=length)
        check_lengths(captions, tokens["input_ids"], length)
        ids, mask = torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])
        features = [
            _pooled(
                self.model.get_text_features(
                    input_ids=part.to(self.model.device), attention_mask=kept.to(self.model.device)
                )
            )
            for part, kept in zip(ids.split(_BATCH_SIZE), mask.split(_BATCH_SIZE), strict=True)
        ]
        return _unit(features)


def load_clip(directory: Path, *, device: torch.device | str = "cpu") -> Clip:
    """Return the CLIP stored in a local directory, in float32.

    Raises `WeightsError` where a file is missing or damaged, or the checkpoint leaves a
    parameter unset: transformers would fill it with random numbers and only warn.
    """
    if not (directory / "config.json").is_file():
        raise WeightsError(
            f"{directory}: found no config.json, expected a CLIP in transformers format; "
            "check evaluation.clip in params.yaml and run the fetch stage"
        )
    model = load_clip_model(directory, device=device)
    tokenizer = load_clip_tokenizer(directory)
    with readable_clip(directory):
        processor = CLIPImageProcessorPil.from_pretrained(directory, local_files_only=True)
    return Clip(model, tokenizer, processor)


def _pooled(output: Any) -> Float[Tensor, "batch features"]:
    """Return the projected features of transformers' output, whose stubs allow a tuple."""
    return output.pooler_output


def _unit(features: list[Tensor]) -> Float[Tensor, "batch features"]:
    return torch.nn.functional.normalize(torch.cat(features).float(), dim=-1).cpu()
