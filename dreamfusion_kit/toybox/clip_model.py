"""The toybox's CLIP: a small `CLIPModel` with its processor and tokenizer.

It is saved in transformers format, so that the evaluation loads it in the same way as
`openai/clip-vit-large-patch14`. The optimisation never sees it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dreamfusion_kit.toybox.saved_model import half_precision
from dreamfusion_kit.toybox.settings import ClipTrainingSection
from dreamfusion_kit.toybox.tokenizer import MAX_TOKENS, train_tokenizer

_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class ToyboxClip(nn.Module):
    """Both towers, the tokenizer and the image normalisation."""

    def __init__(self, settings: ClipTrainingSection, image_size_px: int) -> None:
        """Draw initial weights from `settings.seed`; nothing is read from disk."""
        super().__init__()
        self.image_size_px = image_size_px
        self.tokenizer: CLIPTokenizer = train_tokenizer()
        with torch.random.fork_rng(devices=[]):
            # The library initialises from the global generator only.
            torch.manual_seed(settings.seed)
            self.model = CLIPModel(_config(settings, image_size_px, len(self.tokenizer)))

    def image_features(self, images: Float[Tensor, "batch h w 3"]) -> Float[Tensor, "batch width"]:
        """Return unit features of images in [0, 1] at the model's own size."""
        pixels = (images - torch.tensor(_MEAN).to(images)) / torch.tensor(_STD).to(images)
        return _unit(self.model.get_image_features(pixel_values=pixels.permute(0, 3, 1, 2)))

    def text_features(self, captions: Sequence[str]) -> Float[Tensor, "batch width"]:
        """Return unit features of captions."""
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.model.device)
        return _unit(
            self.model.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            )
        )

    def save_pretrained(self, directory: Path) -> None:
        """Write model (half precision), tokenizer and image processor."""
        half_precision(self.model).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        size = {"height": self.image_size_px, "width": self.image_size_px}
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": self.image_size_px},
            crop_size=size,
            image_mean=list(_MEAN),
            image_std=list(_STD),
        )
        processor.save_pretrained(directory)


def _unit(output: Any) -> Float[Tensor, "batch width"]:
    """Return the unit projection of a tower's output, which its stubs allow to be a tuple."""
    return torch.nn.functional.normalize(output.pooler_output, dim=-1)


def _config(settings: ClipTrainingSection, image_size_px: int, vocabulary: int) -> CLIPConfig:
    tower: dict[str, Any] = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": 4,
        "projection_dim": settings.embedding_size,
    }
    vision = CLIPVisionConfig(image_size=image_size_px, patch_size=settings.image_patch_px, **tower)
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **tower,
    )
    return CLIPConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=settings.embedding_size,
    )
