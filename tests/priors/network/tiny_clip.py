"""A CLIP of a few thousand parameters, as transformers makes and saves it."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

_SHARED = {
    "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 2,
}  # fmt: skip


def save_tiny_clip(directory: Path, *, eos: int = 1, activation: str = "quick_gelu") -> CLIPModel:
    """Write the model to `directory` and return it."""
    text = _SHARED | {
        "vocab_size": 50, "max_position_embeddings": 9, "bos_token_id": 0, "eos_token_id": eos,
        "pad_token_id": 1, "hidden_act": activation,
    }  # fmt: skip
    vision = _SHARED | {"image_size": 16, "patch_size": 4, "hidden_act": activation}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10))
        for parameter in model.parameters():  # the library's own start would hide most mistakes
            parameter.data.normal_(std=0.3)
    model.save_pretrained(directory)
    return model.eval()
