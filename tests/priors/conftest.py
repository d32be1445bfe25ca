"""A tiny diffusers directory, laid out like the toybox's, with random weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("a", "red", "blue", "mug", "robot", "front", "view", ",")
MODEL_INDEX = {
    "_class_name": "TextToImagePixelPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDPMScheduler"],
}
MAX_TOKENS = 16


def build_tokenizer() -> CLIPTokenizer:
    """Return a byte-pair tokenizer over the alphabet, without merges."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [","]
    pieces = letters + [letter + "</w>" for letter in letters]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    vocab |= {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=MAX_TOKENS)


def build_unet(in_channels: int, out_channels: int, sample_size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=12,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


@pytest.fixture(scope="session")
def make_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves such a directory and returns its path."""

    def make(
        prediction_type: str = "v_prediction",
        in_channels: int = 3,
        out_channels: int = 3,
        sample_size: int = 8,
    ) -> Path:
        directory = tmp_path_factory.mktemp("pipeline")
        torch.manual_seed(0)  # The libraries initialise from the global state.
        tokenizer = build_tokenizer()
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=12,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        scheduler = DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type
        )
        tokenizer.save_pretrained(directory / "tokenizer")
        encoder.save_pretrained(directory / "text_encoder")
        build_unet(in_channels, out_channels, sample_size).save_pretrained(directory / "unet")
        scheduler.save_pretrained(directory / "scheduler")
        (directory / "model_index.json").write_text(json.dumps(MODEL_INDEX))
        return directory

    return make


@pytest.fixture(scope="session")
def pipeline(make_pipeline: Callable[..., Path]) -> Path:
    """Return a directory that no test may change."""
    return make_pipeline()


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    """Return the tiny tokenizer itself."""
    return build_tokenizer()
