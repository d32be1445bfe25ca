"""Checks a tokenizer's vocabulary against the embedding that its token ids index."""

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import MissingExtraError, WeightsError
from dreamfusion_kit.priors.config.json_file import VOCABULARY_BYTES, checked, read_object
from dreamfusion_kit.priors.config.schema import TokenizerConfig

# What transformers needs to turn a SentencePiece vocabulary into a tokenizer: package, module.
_SENTENCEPIECE = {"protobuf": "google.protobuf", "sentencepiece": "sentencepiece"}


def check_vocabulary(directory: Path, vocab_size: int) -> None:
    """Raise WeightsError if a token id lies outside an embedding of `vocab_size`.

    Also if there is no vocabulary, and MissingExtraError if reading it needs packages that
    are not installed.
    """
    read_tokenizer_config(directory)
    check_readable(directory)
    ids = _ids(directory)
    if not ids:
        raise WeightsError(
            f"{directory.parent.name}/{directory.name}: holds no vocabulary; expected a "
            "tokenizer.json, a vocab.json or a SentencePiece .model; add it to the source's "
            "`files` and fetch again"
        )
    if min(ids) < 0 or max(ids) >= vocab_size:
        outside = min(ids) if min(ids) < 0 else max(ids)
        raise WeightsError(
            f"{directory.parent.name}/{directory.name}: numbers a token {outside}; expected 0 to "
            f"{vocab_size - 1}, which its text encoder embeds; choose another source"
        )


def read_tokenizer_config(directory: Path) -> TokenizerConfig:
    """Return a tokenizer's settings; those of an absent file are all unset."""
    path = directory / "tokenizer_config.json"
    values = _read(path) if path.exists() else {}
    return checked(TokenizerConfig, values, _place(path))


def check_readable(directory: Path) -> None:
    """Raise MissingExtraError where the vocabulary needs packages that are not installed.

    DeepFloyd IF comes with only T5's `spiece.model`; others also have a `tokenizer.json`.
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


def _ids(directory: Path) -> list[int]:
    """Return the id of every token in the vocabulary's files."""
    whole, plain = directory / "tokenizer.json", directory / "vocab.json"
    if whole.is_file():
        return _ids_of_tokenizer_json(whole)
    if plain.is_file():
        return [*_numbers(plain, _read(plain)), *_added(directory)]
    pieces = sorted(directory.glob("*.model"))
    if pieces:
        return [*range(_num_pieces(pieces[0])), *_added(directory)]
    return []


def _ids_of_tokenizer_json(path: Path) -> list[int]:
    values = _read(path)
    model, added = values.get("model"), values.get("added_tokens") or []
    match model:
        case {"vocab": dict(vocabulary)}:
            ids = _numbers(path, vocabulary)
        case {"vocab": list(pieces)}:  # Unigram: pairs of a piece and its score, in order
            ids = list(range(len(pieces)))
        case _:
            raise _unreadable(path)
    match added:
        case list():
            entries: dict[str, Any] = {
                str(index): entry.get("id") if isinstance(entry, dict) else None
                for index, entry in enumerate(added)
            }
            return [*ids, *_numbers(path, entries)]
        case _:
            raise _unreadable(path)


def _added(directory: Path) -> list[int]:
    path = directory / "added_tokens.json"
    return _numbers(path, _read(path)) if path.is_file() else []


def _read(path: Path) -> dict[str, Any]:
    return read_object(path, limit=VOCABULARY_BYTES, place=_place(path))


def _place(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _numbers(path: Path, values: dict[str, Any]) -> list[int]:
    ids: Iterable[Any] = values.values()
    numbers = [value for value in ids if isinstance(value, int) and not isinstance(value, bool)]
    if len(numbers) != len(values):
        raise _unreadable(path)
    return numbers


def _num_pieces(path: Path) -> int:
    # An extra, whose presence `check_readable` has verified.
    sentencepiece: Any = importlib.import_module("sentencepiece")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size()
    except Exception:  # whatever its C++ raises for bytes that are not a model
        raise _unreadable(path) from None


def _unreadable(path: Path) -> WeightsError:
    return WeightsError(
        f"{_place(path)}: cannot be read as a vocabulary; expected tokens and their numbers; fetch "
        "the model again or choose another source"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing too
        return False
