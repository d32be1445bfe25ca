"""A CLIP that can be differentiated by the image, in a transformers directory.

The directory holds `config.json`, `model.safetensors`, a tokenizer and
`preprocessor_config.json`. Images are brought to CLIP's size and colours by tensor
operations, so that a gradient reaches them; the evaluation's CLIP rounds to bytes first.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.attention import repeatable_attention
from dreamfusion_kit.priors.base import ImageTextModel
from dreamfusion_kit.priors.resize import resized
from dreamfusion_kit.priors.text import TextFeatures


@final
class ClipTeacher(ImageTextModel):
    """A frozen CLIP in float32."""

    def __init__(self, directory: Path, device: torch.device | str) -> None:
        """Read the model, its tokenizer and the colours that it was trained on."""
        try:
            model, report = _load_model(directory)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
            colors = json.loads((directory / "preprocessor_config.json").read_text())
            mean, std = colors["image_mean"], colors["image_std"]
        except Exception as error:  # The libraries raise a dozen unrelated types here.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"{directory.name}: cannot be read as a CLIP ({reason}); expected its "
                "configuration, safetensors, tokenizer and preprocessor_config.json; fetch it again"
            ) from error
        unset = [*sorted(report["missing_keys"]), *map(str, sorted(report["mismatched_keys"]))]
        if unset:
            raise WeightsError(
                f"{directory.name}: {len(unset)} weights are missing or of another shape, the "
                f"first {unset[0]}; expected those of its own config.json; fetch it again"
            )
        self._model = model.requires_grad_(False).to(device).eval()  # pyright: ignore[reportArgumentType]
        self._mean = torch.tensor(mean, device=device)[:, None, None]
        self._std = torch.tensor(std, device=device)[:, None, None]

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return unit features; no prompt is cut."""
        length: int = cast(Any, self._model.config.text_config).max_position_embeddings
        for prompt, ids in zip(prompts, self._tokenizer(list(prompts)).input_ids, strict=True):
            if len(ids) > length:
                raise RecipeError(
                    f"prompt {prompt!r}: {len(ids)} tokens with its view words; this CLIP reads "
                    f"at most {length}; shorten the prompt"
                )
        tokens = self._tokenizer(
            list(prompts), padding="max_length", max_length=length, return_tensors="pt"
        ).to(self._model.device)
        output: Any = self._model.get_text_features(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        )
        return TextFeatures({"clip": _unit(output.pooler_output)})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize to CLIP's square (bicubic, as its own preprocessing) and whiten the colours."""
        side: int = cast(Any, self._model.config.vision_config).image_size
        return (resized(images, side, "bicubic") - self._mean) / self._std

    def similarity(
        self, pixels: Float[Tensor, "batch channels height width"], text: TextFeatures
    ) -> Float[Tensor, " batch"]:
        """Return the cosine of the angle between each image's features and its text's."""
        with repeatable_attention(pixels.device):
            output: Any = self._model.get_image_features(pixel_values=pixels)
        return (_unit(output.pooler_output) * text.tensors["clip"]).sum(dim=-1)


def _load_model(directory: Path) -> tuple[CLIPModel, dict[str, Any]]:
    """Return the model and transformers' account of missing and mismatched parameters."""
    loaded: Any = CLIPModel.from_pretrained(
        directory,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    return loaded


def _unit(features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
    return torch.nn.functional.normalize(features, dim=-1)
