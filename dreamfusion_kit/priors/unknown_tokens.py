"""Refuses prompts in a script, or with signs, that a model's tokenizer does not know.

A sentencepiece vocabulary, such as T5's, replaces what it lacks (emoji, most scripts but the Latin,
some quotes and brackets) by one and the same token: the model would be asked for something
else. CLIP's and Qwen's vocabularies hold every byte, and know every prompt.
"""

from collections.abc import Sequence
from typing import Any

from dreamfusion_kit.errors import RecipeError


def refuse_unknown(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Raise RecipeError where the tokenizer has no token for a part of a prompt."""
    for prompt in prompts:
        if not _is_known(tokenizer, prompt):
            words = [word for word in prompt.split() if not _is_known(tokenizer, word)]
            raise RecipeError(
                f"prompt {prompt!r}: the prior's tokenizer does not know "
                f"{', '.join(map(repr, words)) or 'a part of it'}; expected letters and signs that "
                "it was trained on; say it in other words, or choose another prior"
            )


def _is_known(tokenizer: Any, text: str) -> bool:
    unknown = tokenizer.unk_token_id
    return unknown is None or unknown not in tokenizer(text, add_special_tokens=False).input_ids
