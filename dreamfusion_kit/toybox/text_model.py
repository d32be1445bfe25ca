"""The trained text encoder of a toybox prior, read frozen by the priors on latents."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dreamfusion_kit.toybox.saved_model import expect_files
from dreamfusion_kit.toybox.tokenizer import MAX_TOKENS


def load_tokenizer(directory: Path) -> CLIPTokenizer:
    """Return the tokenizer of a diffusers directory.

    A saved copy does not record the directory that it was loaded from.

    Raises `WeightsError` if there is none.
    """
    expect_files(directory / "tokenizer", "tokenizer.json", made_by="train-prior")
    tokenizer = CLIPTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True)
    for place in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(place, None)
    return tokenizer


def load_text_encoder(directory: Path) -> CLIPTextModel:
    """Return the text encoder of a diffusers directory, frozen, in float32.

    Raises `WeightsError` if there is none.
    """
    expect_files(
        directory / "text_encoder", "config.json", "model.safetensors", made_by="train-prior"
    )
    encoder = CLIPTextModel.from_pretrained(
        directory / "text_encoder", local_files_only=True, dtype=torch.float32
    )
    return encoder.eval().requires_grad_(False)


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Int[Tensor, "captions tokens"]:
    """Return the captions' token ids, padded to the models' length."""
    tokens = tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=MAX_TOKENS,
        return_tensors="pt",
    )
    return tokens.input_ids
