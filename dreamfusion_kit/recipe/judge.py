"""Which captions a CLIP can read, known before it is downloaded and without loading torch.

For a CLIP on this machine, its own tokenizer counts the tokens. For one on the hub, only a lower
bound is known before it is fetched: every word, digit and run of punctuation is at least one
token (Radford et al. 2021, OpenAI's `simple_tokenizer.py`). A caption over the bound cannot
work; one near it is checked with the exact tokenizer once that has been fetched.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from tokenizers import Tokenizer

from dreamfusion_kit import packaged
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.captions import declared_captions
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.local_models import resolve_path
from dreamfusion_kit.recipe.schema import (
    BundledSourceSection,
    HubSourceSection,
    LocalSourceSection,
    SourceSection,
)

HUB_TOKENS = 77  # the limit of all OpenAI and OpenCLIP text encoders
_MARKS = 2  # the tokens of start and end
_PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\s\w]|_)+", re.IGNORECASE)
_LETTERS_PER_TOKEN = 6  # for rare words, an estimate

ADVICE = (
    "shorten the prompt, or set evaluation.clip to a CLIP that accepts it (docs/evaluation.md) "
    "or to null"
)


@dataclass(frozen=True)
class TextReader:
    """How many tokens a CLIP's text encoder reads, and how many a caption has.

    `count` is exact if `is_exact`, otherwise a lower bound.
    """

    max_tokens: int
    count: Callable[[str], int]
    is_exact: bool

    def problem(self, caption: str) -> str | None:
        """Return why the caption cannot be read in full; None if it can or might."""
        tokens = self.count(caption)
        if tokens <= self.max_tokens:
            return None
        found = f"found {tokens} tokens" if self.is_exact else f"found {tokens} tokens or more"
        return f"{found}, expected at most {self.max_tokens} for the judging CLIP; {ADVICE}"

    def note(self, caption: str) -> str | None:
        """Return a warning if a caption may be too long and only an estimate is available."""
        estimate = estimated_tokens(caption)
        if self.is_exact or estimate <= self.max_tokens or self.problem(caption):
            return None
        return (
            f"about {estimate} tokens by estimate, the judging CLIP reads {self.max_tokens}; the "
            f"exact count is checked once that CLIP is fetched, and nothing is truncated; {ADVICE}"
        )


def text_reader(source: SourceSection, workspace: Path) -> TextReader | None:
    """Return what is known about the CLIP's text encoder; None if it is not on this machine.

    Raises:
        RecipeError: if a local CLIP's configuration or tokenizer is damaged.
    """
    match source:
        case BundledSourceSection():
            return directory_reader(packaged.MODELS / source.name)
        case LocalSourceSection():
            directory, _ = resolve_path(source.path, workspace)
            return directory_reader(directory) if directory.is_dir() else None
        case HubSourceSection():
            return TextReader(HUB_TOKENS, fewest_tokens, is_exact=False)
        case _:
            assert_never(source)


def directory_reader(directory: Path) -> TextReader:
    """Return the exact reader of a CLIP in transformers format.

    Raises:
        RecipeError: where its configuration or tokenizer is missing or damaged.
    """
    try:
        config: Any = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        max_tokens: Any = config.get("text_config", {}).get("max_position_embeddings", HUB_TOKENS)
        if not isinstance(max_tokens, int) or not 2 < max_tokens < 1 << 20:
            raise ValueError(f"max_position_embeddings {max_tokens!r}")
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise RecipeError(
            f"{directory}: found a CLIP whose text encoder cannot be read "
            f"({type(error).__name__}: {reason}), expected config.json and tokenizer.json; "
            "fetch it again"
        ) from error
    encode = load_tokenizer(directory)
    return TextReader(max_tokens, lambda caption: len(encode(caption)), is_exact=True)


def load_tokenizer(directory: Path) -> Callable[[str], list[int]]:
    """Return a function from a caption to token ids, marks included, never truncated or padded.

    Raises:
        RecipeError: where tokenizer.json is missing or damaged. No code of the directory runs.
    """
    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain `Exception` for a damaged file
        reason = str(error).partition("\n")[0]
        raise RecipeError(
            f"{path}: cannot be read as a tokenizer ({type(error).__name__}: {reason}), expected "
            "the JSON of the tokenizers library; fetch it again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda caption: tokenizer.encode(caption).ids


def fewest_tokens(caption: str) -> int:
    """Return a lower bound on a caption's tokens in CLIP's byte-pair encoding, marks included."""
    return _MARKS + sum(1 for _ in _PIECES.finditer(caption))


def estimated_tokens(caption: str) -> int:
    """Return roughly how many tokens a caption has: long words are split into several."""
    sizes = (len(piece.group().encode()) for piece in _PIECES.finditer(caption))
    return _MARKS + sum(-(-size // _LETTERS_PER_TOKEN) for size in sizes)


def unreadable(
    evaluation: EvaluationSection, prompts: Mapping[str, str], workspace: Path
) -> tuple[dict[str, str], list[str]]:
    """Return what one of the suite's judges cannot possibly read, without fetching anything.

    Args:
        evaluation: The protocol.
        prompts: The suite's prompts by asset.
        workspace: Where to look for a local CLIP and a file of captions.

    Returns:
        The reasons by asset, and one line per unreadable caption of a declared pool.
    """
    pool = declared_captions(evaluation.caption_pool, prompts, workspace) or ()
    readers = text_readers(evaluation, workspace)
    known = set(prompts.values())
    found = {asset: _problem(readers, prompt) for asset, prompt in prompts.items()}
    others = {caption: _problem(readers, caption) for caption in pool if caption not in known}
    return (
        {asset: problem for asset, problem in found.items() if problem is not None},
        [
            f"caption {caption!r} of the pool: {problem}"
            for caption, problem in others.items()
            if problem is not None
        ],
    )


def reading_notes(
    evaluation: EvaluationSection, prompts: Mapping[str, str], workspace: Path
) -> dict[str, str]:
    """Return a warning for each asset whose prompt may turn out to be too long, by asset."""
    readers = text_readers(evaluation, workspace)
    notes = {
        asset: _first(reader.note(text) for reader in readers) for asset, text in prompts.items()
    }
    return {asset: note for asset, note in notes.items() if note is not None}


def text_readers(evaluation: EvaluationSection, workspace: Path) -> list[TextReader]:
    """Return the readers of all judges whose limits are known, the strictest first."""
    found = [text_reader(source, workspace) for source in evaluation.judges.values()]
    known = [reader for reader in found if reader is not None]
    return sorted(known, key=lambda reader: reader.max_tokens)


def _problem(readers: Iterable[TextReader], caption: str) -> str | None:
    return _first(reader.problem(caption) for reader in readers)


def _first(texts: Iterable[str | None]) -> str | None:
    return next((text for text in texts if text is not None), None)
