"""Text encoders of diffusers directories: CLIP in its variants and T5.

Each function loads one encoder, runs it and frees it, so two encoders are never in memory
together, and none stays for the optimisation. No prompt is ever truncated.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5EncoderModel,
    UMT5EncoderModel,
)

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.config_schema import ClipTextConfig
from dreamfusion_kit.priors.directory import load_model, readable
from dreamfusion_kit.priors.model_files import read_text_config
from dreamfusion_kit.priors.vocabulary import check_readable, read_tokenizer_config

CLIP_CLASSES = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
T5_CLASSES = {"T5EncoderModel": T5EncoderModel, "UMT5EncoderModel": UMT5EncoderModel}

# T5 was trained in bfloat16 and its activations overflow float16.
T5_DTYPE = torch.bfloat16


def clip_hidden(
    directory: Path, prompts: Sequence[str], device: torch.device
) -> Float[Tensor, "prompts tokens width"]:
    """Return the last hidden states of `text_encoder/`, padded to the tokenizer's length."""
    tokens = _clip_tokens(directory, "", prompts)
    # float32 whatever the denoiser's dtype: it runs once, and predict casts the result.
    encoder = load_model(CLIPTextModel, directory / "text_encoder", dtype=torch.float32)
    with torch.no_grad():
        return encoder.to(device)(input_ids=tokens.to(device)).last_hidden_state


def clip_penultimate(
    directory: Path, suffix: str, class_name: str, prompts: Sequence[str], device: torch.device
) -> tuple[Float[Tensor, "prompts tokens width"], Float[Tensor, "prompts channels"]]:
    """Return the hidden states before the last layer, and the pooled output.

    SDXL and SD3 read this layer (Podell et al. 2023, s. 2.1). `suffix` is that of the
    folders: "" or "_2". A CLIPTextModel's pooled output is its plain one; a
    CLIPTextModelWithProjection's is the projected one.
    """
    tokens = _clip_tokens(directory, suffix, prompts)
    folder = directory / f"text_encoder{suffix}"
    encoder = load_model(CLIP_CLASSES[class_name], folder, dtype=torch.float32)
    with torch.no_grad():
        output = encoder.to(device)(input_ids=tokens.to(device), output_hidden_states=True)
    projected = class_name == "CLIPTextModelWithProjection"
    return output.hidden_states[-2], output.text_embeds if projected else output.pooler_output


def t5_hidden(
    directory: Path,
    suffix: str,
    class_name: str,
    prompts: Sequence[str],
    device: torch.device,
    *,
    num_tokens: int,
    masked: bool,
) -> Float[Tensor, "prompts tokens width"]:
    """Return T5's last hidden states in float32, padded to `num_tokens`.

    Args:
        directory: The diffusers directory.
        suffix: Suffix of the folders: "" or "_3".
        class_name: "T5EncoderModel" or "UMT5EncoderModel".
        prompts: One row each.
        device: Where the encoder runs.
        num_tokens: Length that shorter prompts are padded to.
        masked: Whether padding is hidden from the encoder (IF, AuraFlow) or read (SD3).
    """
    tokens, mask = tokenize(directory / f"tokenizer{suffix}", prompts, num_tokens)
    check_embedded(directory, suffix, tokens)
    tokens, mask = tokens.to(device), mask.to(device)
    folder = directory / f"text_encoder{suffix}"
    encoder = load_model(T5_CLASSES[class_name], folder, dtype=T5_DTYPE).to(device)
    with torch.no_grad():
        output = encoder(input_ids=tokens, attention_mask=mask if masked else None)
    return output.last_hidden_state.float()


def tokenize(
    directory: Path, prompts: Sequence[str], num_tokens: int
) -> tuple[Int[Tensor, "prompts tokens"], Int[Tensor, "prompts tokens"]]:
    """Return token ids and their mask, padded to `num_tokens`."""
    check_readable(directory)
    with readable(directory):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > num_tokens:
            raise RecipeError(
                f"prompt {prompt!r}: {len(ids)} tokens with its view words; the prior's text "
                f"encoder reads at most {num_tokens}; shorten the prompt"
            )
    padded = tokenizer(
        list(prompts), padding="max_length", max_length=num_tokens, return_tensors="pt"
    )
    return padded.input_ids, padded.attention_mask


def check_embedded(directory: Path, suffix: str, tokens: Int[Tensor, "prompts tokens"]) -> None:
    """Raise WeightsError where a token lies outside the encoder's embedding."""
    vocab_size = read_text_config(directory, f"text_encoder{suffix}").vocab_size
    highest = int(tokens.max())
    if highest >= vocab_size:
        raise WeightsError(
            f"{directory.name}/tokenizer{suffix}: numbers a token {highest}; expected less than "
            f"{vocab_size}, which its text encoder embeds; choose another prior.source"
        )


def _clip_tokens(
    directory: Path, suffix: str, prompts: Sequence[str]
) -> Int[Tensor, "prompts tokens"]:
    """Return token ids padded to the tokenizer's own length, or to the encoder's if shorter.

    Many tokenizers have no length of their own, or one of 10^30.
    """
    config = read_text_config(directory, f"text_encoder{suffix}")
    if not isinstance(config, ClipTextConfig):
        raise WeightsError(
            f"{directory.name}/text_encoder{suffix}: is of model_type {config.model_type}; "
            "expected a CLIP's; choose another prior.source"
        )
    own = read_tokenizer_config(directory / f"tokenizer{suffix}").model_max_length
    longest = config.max_position_embeddings
    length = longest if own is None else int(min(own, longest))
    tokens, _ = tokenize(directory / f"tokenizer{suffix}", prompts, length)
    check_embedded(directory, suffix, tokens)
    return tokens
