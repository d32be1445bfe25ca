"""Ids of assets from prompts: readable, unique, and the same at every import."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

_MAX_CHARACTERS = 40  # of the words; an id may have 64
_HASH_DIGITS = 8
_ARTICLES = ("a", "an", "the")


def slugs(keys: Sequence[tuple[str, str]], taken: Collection[str] = ()) -> list[str]:
    """Return an id for each (prompt, variant), all different and none of `taken`.

    An id is the prompt's words, without an article before them. If they are cut, are not all
    Latin, or match those of another prompt, a hash of prompt and variant follows. It does not
    depend on the order of the prompts or on the other prompts.

    Args:
        keys: Prompts, each with what distinguishes it from equal ones: a recipe and a seed.
        taken: Ids that are in use.
    """
    words = [_words(prompt) for prompt, _ in keys]
    count = Counter(text for text, _ in words)
    prompts = Counter(prompt for prompt, _ in keys)
    return [
        text
        if is_whole and count[text] == 1 and text not in taken
        else _hashed(text, prompt if prompts[prompt] == 1 else f"{prompt}\n{variant}")
        for (prompt, variant), (text, is_whole) in zip(keys, words, strict=True)
    ]


def _words(prompt: str) -> tuple[str, bool]:
    """Return the prompt's words joined by `_`, and whether they are complete."""
    letters = unicodedata.normalize("NFKD", prompt.lower())
    # Dropping an accent is not a loss, since the letter stays. A character without any ASCII
    # form is one.
    plain = "".join(char for char in letters if char.isascii())
    lost = any(not c.isascii() and not unicodedata.combining(c) and c.isalnum() for c in letters)
    words = re.findall(r"[a-z0-9]+", plain)
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    kept: list[str] = []
    for word in words:
        if len("_".join([*kept, word])) > _MAX_CHARACTERS:
            return "_".join(kept), False
        kept.append(word)
    return "_".join(kept), bool(kept) and not lost


def _hashed(words: str, text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{words}_{digits}" if words else f"prompt_{digits}"
