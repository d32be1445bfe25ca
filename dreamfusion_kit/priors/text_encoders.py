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
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.addition.inversion import spelled, teach_encoder, teach_tokenizer
from dreamfusion_kit.priors.config.component_config import read_text_config
from dreamfusion_kit.priors.config.schema import ClipTextConfig
from dreamfusion_kit.priors.config.vocabulary import check_readable, read_tokenizer_config
from dreamfusion_kit.priors.directory import load_model, readable
from dreamfusion_kit.priors.unknown_tokens import refuse_unknown

CLIP_CLASSES = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
T5_CLASSES = {"T5EncoderModel": T5EncoderModel, "UMT5EncoderModel": UMT5EncoderModel}

# T5 was trained in bfloat16 and its activations overflow float16.
T5_DTYPE = torch.bfloat16


def clip_hidden(
    directory: Path,
    prompts: Sequence[str],
    device: torch.device,
    *,
    adapted: Adapted | None = None,
    chunk: bool = False,
) -> Float[Tensor, "prompts tokens width"]:
    """Return the last hidden states of `text_encoder/`, padded to the tokenizer's length.

    `chunk` reads longer prompts in several pieces, side by side in the result.
    """
    tokens = _clip_tokens(directory, "", prompts, adapted, chunk=chunk)
    # float32 whatever the denoiser's dtype: it runs once, and predict casts the result.
    encoder = _clip_encoder(CLIPTextModel, directory, "", adapted)
    with torch.no_grad():
        output = encoder.to(device)(input_ids=tokens.flatten(0, 1).to(device))
    return _joined(output.last_hidden_state, len(prompts))


def clip_penultimate(
    directory: Path,
    suffix: str,
    class_name: str,
    prompts: Sequence[str],
    device: torch.device,
    *,
    adapted: Adapted | None = None,
    chunk: bool = False,
) -> tuple[Float[Tensor, "prompts tokens width"], Float[Tensor, "prompts channels"]]:
    """Return the hidden states before the last layer, and the pooled output.

    SDXL and SD3 read this layer (Podell et al. 2023, s. 2.1). `suffix` is that of the
    folders: "" or "_2". A CLIPTextModel's pooled output is its plain one; a
    CLIPTextModelWithProjection's is the projected one. With `chunk` it is the first piece's.
    """
    tokens = _clip_tokens(directory, suffix, prompts, adapted, chunk=chunk)
    encoder = _clip_encoder(CLIP_CLASSES[class_name], directory, suffix, adapted)
    with torch.no_grad():
        ids = tokens.flatten(0, 1).to(device)
        output = encoder.to(device)(input_ids=ids, output_hidden_states=True)
    projected = class_name == "CLIPTextModelWithProjection"
    pooled = output.text_embeds if projected else output.pooler_output
    first = pooled.unflatten(0, (len(prompts), -1))[:, 0]
    return _joined(output.hidden_states[-2], len(prompts)), first


def t5_hidden(
    directory: Path,
    suffix: str,
    class_name: str,
    prompts: Sequence[str],
    device: torch.device,
    *,
    num_tokens: int,
    masked: bool,
    adapted: Adapted | None = None,
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
        adapted: What the recipe adds.
    """
    tokens, mask = tokenize(directory / f"tokenizer{suffix}", prompts, num_tokens)
    check_embedded(directory, suffix, tokens)
    tokens, mask = tokens.to(device), mask.to(device)
    folder = directory / f"text_encoder{suffix}"
    encoder = load_model(T5_CLASSES[class_name], folder, dtype=T5_DTYPE)
    if adapted is not None:
        adapted.adapt(encoder, f"text_encoder{suffix}")
    encoder = encoder.to(device)
    with torch.no_grad():
        output = encoder(input_ids=tokens, attention_mask=mask if masked else None)
    return output.last_hidden_state.float()


def tokenize(
    directory: Path, prompts: Sequence[str], num_tokens: int
) -> tuple[Int[Tensor, "prompts tokens"], Int[Tensor, "prompts tokens"]]:
    """Return token ids and their mask, padded to `num_tokens`.

    Raises RecipeError where a prompt is longer, or has what no token stands for.
    """
    tokenizer = _tokenizer(directory)
    refuse_unknown(tokenizer, prompts)
    _check_lengths(tokenizer, prompts, num_tokens)
    padded = tokenizer(
        list(prompts), padding="max_length", max_length=num_tokens, return_tensors="pt"
    )
    return padded.input_ids, padded.attention_mask


def check_embedded(
    directory: Path, suffix: str, tokens: Int[Tensor, "*prompts tokens"], *, learned: int = 0
) -> None:
    """Raise WeightsError where a token lies outside the encoder's embedding.

    `learned` is how many tokens stand behind it for words of textual inversions.
    """
    vocab_size = read_text_config(directory, f"text_encoder{suffix}").vocab_size
    highest = int(tokens.max())
    if highest >= vocab_size + learned:
        raise WeightsError(
            f"{directory.name}/tokenizer{suffix}: numbers a token {highest}; expected less than "
            f"{vocab_size}, which its text encoder embeds; choose another prior.source"
        )


def _clip_tokens(
    directory: Path,
    suffix: str,
    prompts: Sequence[str],
    adapted: Adapted | None,
    *,
    chunk: bool,
) -> Int[Tensor, "prompts batch tokens"]:
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
    tokenizer = _tokenizer(directory / f"tokenizer{suffix}")
    inversions = [] if adapted is None else adapted.inversions(suffix)
    teach_tokenizer(tokenizer, inversions)
    spelled_out = [spelled(prompt, inversions) for prompt in prompts]
    refuse_unknown(tokenizer, spelled_out)
    if chunk:
        ids = _in_chunks(tokenizer, spelled_out, length)
    else:
        _check_lengths(tokenizer, spelled_out, length)
        padded = tokenizer(
            spelled_out, padding="max_length", max_length=length, return_tensors="pt"
        )
        ids = padded.input_ids[:, None]
    learned = sum(len(inversion.vectors) for inversion in inversions)
    check_embedded(directory, suffix, ids, learned=learned)
    return ids


def _in_chunks(
    tokenizer: Any, prompts: Sequence[str], length: int
) -> Int[Tensor, "prompts batch tokens"]:
    """Return each prompt in pieces of `length`, each with a start and an end, all as many."""
    room = length - 2
    plain = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    pieces = max(1, *(-(-len(ids) // room) for ids in plain))
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id

    def piece(ids: list[int], index: int) -> list[int]:
        found = [start, *ids[index * room : (index + 1) * room], end]
        return found + [end if pad is None else pad] * (length - len(found))

    return torch.tensor([[piece(ids, index) for index in range(pieces)] for ids in plain])


def _clip_encoder(model_class: Any, directory: Path, suffix: str, adapted: Adapted | None) -> Any:
    """Return a CLIP's text encoder in float32, with what the recipe adds to it."""
    component = f"text_encoder{suffix}"
    encoder: Any = load_model(model_class, directory / component, dtype=torch.float32)
    if adapted is None:
        return encoder
    adapted.adapt(encoder, component)
    inversions = adapted.inversions(suffix)
    if inversions:
        tokenizer = _tokenizer(directory / f"tokenizer{suffix}")
        teach_encoder(encoder, inversions, first=len(tokenizer), end=tokenizer.eos_token_id)
    return encoder


def _tokenizer(directory: Path) -> Any:
    check_readable(directory)
    with readable(directory):
        return AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )


def _check_lengths(tokenizer: Any, prompts: Sequence[str], num_tokens: int) -> None:
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > num_tokens:
            raise RecipeError(
                f"prompt {prompt!r}: {len(ids)} tokens with its view words; the prior's text "
                f"encoder reads at most {num_tokens}; shorten the prompt, or set "
                "prior.long_prompts to chunk where the prior has that key"
            )


def _joined(
    hidden: Float[Tensor, "rows tokens width"], num_prompts: int
) -> Float[Tensor, "prompts _ width"]:
    """Return the pieces of each prompt side by side."""
    return hidden.unflatten(0, (num_prompts, -1)).flatten(1, 2)
