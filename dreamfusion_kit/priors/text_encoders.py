"""Text encoders of diffusers directories: CLIP in its variants and T5.

Each function loads one encoder, runs it and lets go of it, so that two encoders never share
memory, and none stays for the optimisation. No prompt is ever cut.
"""

import importlib.util
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

from dreamfusion_kit.errors import MissingExtraError, RecipeError
from dreamfusion_kit.priors.directory import load_model, readable

CLIP_CLASSES = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
T5_CLASSES = {"T5EncoderModel": T5EncoderModel, "UMT5EncoderModel": UMT5EncoderModel}

# T5 was trained in bfloat16 and its activations overflow float16.
T5_DTYPE = torch.bfloat16

# What transformers turns a SentencePiece vocabulary into a tokenizer with: package and module.
_SENTENCEPIECE = {"protobuf": "google.protobuf", "sentencepiece": "sentencepiece"}


def clip_hidden(
    directory: Path, prompts: Sequence[str], device: torch.device
) -> Float[Tensor, "prompts tokens width"]:
    """Return the last hidden states of `text_encoder/`, padded to the tokenizer's length."""
    tokens, _ = tokenize(directory / "tokenizer", prompts)
    # float32 whatever the denoiser's dtype: it runs once, and predict casts what it gives.
    encoder = load_model(CLIPTextModel, directory / "text_encoder", dtype=torch.float32)
    with torch.no_grad():
        return encoder.to(device)(input_ids=tokens.to(device)).last_hidden_state


def clip_penultimate(
    directory: Path, suffix: str, class_name: str, prompts: Sequence[str], device: torch.device
) -> tuple[Float[Tensor, "prompts tokens width"], Float[Tensor, "prompts channels"]]:
    """Return the hidden states before the last layer, and the pooled output.

    SDXL and SD3 read this layer (Podell et al. 2023, s. 2.1). `suffix` is that of the
    folders: "" or "_2". A CLIPTextModel's pooled output is its plain one, of a
    CLIPTextModelWithProjection the projected one.
    """
    tokens, _ = tokenize(directory / f"tokenizer{suffix}", prompts)
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
        suffix: That of the folders: "" or "_3".
        class_name: "T5EncoderModel" or "UMT5EncoderModel".
        prompts: One row each.
        device: Where the encoder runs.
        num_tokens: Length that shorter prompts are padded to.
        masked: Whether padding is hidden from the encoder (IF, AuraFlow) or read (SD3).
    """
    tokens, mask = tokenize(directory / f"tokenizer{suffix}", prompts, num_tokens)
    tokens, mask = tokens.to(device), mask.to(device)
    folder = directory / f"text_encoder{suffix}"
    encoder = load_model(T5_CLASSES[class_name], folder, dtype=T5_DTYPE).to(device)
    with torch.no_grad():
        output = encoder(input_ids=tokens, attention_mask=mask if masked else None)
    return output.last_hidden_state.float()


def tokenize(
    directory: Path, prompts: Sequence[str], num_tokens: int | None = None
) -> tuple[Int[Tensor, "prompts tokens"], Int[Tensor, "prompts tokens"]]:
    """Return token ids and their mask, padded to `num_tokens` or the tokenizer's own length."""
    _check_vocabulary(directory)
    with readable(directory):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    length = tokenizer.model_max_length if num_tokens is None else num_tokens
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > length:
            raise RecipeError(
                f"prompt {prompt!r}: {len(ids)} tokens with its view words; the prior's text "
                f"encoder reads at most {length}; shorten the prompt"
            )
    padded = tokenizer(list(prompts), padding="max_length", max_length=length, return_tensors="pt")
    return padded.input_ids, padded.attention_mask


def _check_vocabulary(directory: Path) -> None:
    """Raise MissingExtraError where the vocabulary needs packages that are not installed.

    DeepFloyd IF comes with T5's `spiece.model` alone; others have a `tokenizer.json`, too.
    """
    if (directory / "tokenizer.json").is_file() or not list(directory.glob("*.model")):
        return
    missing = [package for package, module in _SENTENCEPIECE.items() if not _is_installed(module)]
    if missing:
        raise MissingExtraError(
            f"{directory.parent.name}/{directory.name}: holds a SentencePiece vocabulary and no "
            f"tokenizer.json, and {' and '.join(missing)} not installed; expected both packages "
            "that read it; install them with: pip install -e '.[t5]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
