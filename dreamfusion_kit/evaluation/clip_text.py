"""What a CLIP's text encoder reads: its tokenizer, and the captions that fit it.

Apart from the model, so that a prompt can be refused before anything is optimised for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.priors.clip_directory import clip_text_length, load_clip_tokenizer


def check_caption(directory: Path, caption: str) -> None:
    """Raise EvaluationError where the CLIP in `directory` cannot read all of `caption`."""
    length = clip_text_length(directory)
    tokens = load_clip_tokenizer(directory)([caption])["input_ids"]
    check_lengths([caption], tokens, length)


def check_lengths(captions: Sequence[str], token_ids: Any, length: int) -> None:
    """Raise EvaluationError at the first caption of more than `length` tokens."""
    for caption, ids in zip(captions, token_ids, strict=True):
        if len(ids) > length:
            raise EvaluationError(
                f"caption {caption!r}: found {len(ids)} tokens, expected at most {length} for "
                "this CLIP; shorten the prompt, or set evaluation.clip in params.yaml to one "
                "that reads more"
            )
