"""What a CLIP's text encoder reads: its tokenizer, and the captions that fit it.

Apart from the model, so that a prompt can be refused before anything is optimised for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, CLIPConfig, PreTrainedTokenizerBase

from dreamfusion_kit.errors import EvaluationError, WeightsError


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a CLIP in transformers format. No code of the directory runs."""
    return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)


def check_caption(directory: Path, caption: str) -> None:
    """Raise EvaluationError where the CLIP in `directory` cannot read all of `caption`."""
    try:
        config: Any = CLIPConfig.from_pretrained(directory, local_files_only=True)
        tokenizer = load_tokenizer(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{directory}: found a CLIP whose text cannot be read ({type(error).__name__}: "
            f"{reason}), expected config.json and tokenizer files; fetch it again"
        ) from error
    tokens = tokenizer([caption])["input_ids"]
    check_lengths([caption], tokens, config.text_config.max_position_embeddings)


def check_lengths(captions: Sequence[str], token_ids: Any, length: int) -> None:
    """Raise EvaluationError at the first caption of more than `length` tokens."""
    for caption, ids in zip(captions, token_ids, strict=True):
        if len(ids) > length:
            raise EvaluationError(
                f"caption {caption!r}: found {len(ids)} tokens, expected at most {length} for "
                "this CLIP; shorten the prompt, or set evaluation.clip in params.yaml to one "
                "that reads more"
            )
