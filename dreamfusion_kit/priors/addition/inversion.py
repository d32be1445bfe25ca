"""Textual inversions: words whose embeddings were learned (Gal et al., arXiv 2208.01618).

A word may stand for several vectors; then it is read as so many tokens in a row. Three layouts
are read: AUTOMATIC1111's (`emb_params`), SDXL's (`clip_l` and `clip_g`) and diffusers' (the
word itself). The word in a prompt is always the recipe's, whatever the file calls it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

_OF_ENCODER = {"": ("clip_l", "emb_params"), "_2": ("clip_g",)}
_LARGEST = 256  # vectors a word may have


@dataclass(frozen=True)
class Inversion:
    """A word and its vectors for one text encoder: `vectors tokens width`."""

    token: str
    vectors: Tensor

    @property
    def pieces(self) -> list[str]:
        """Return the tokens that the word is read as."""
        return [f"{self.token}_{index}" for index in range(len(self.vectors))]


def read_inversion(path: Path, token: str, suffix: str) -> Inversion:
    """Return the word's vectors for the text encoder of `suffix` ("" or "_2").

    Raises WeightsError where the file has none for it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path.name}: cannot be read ({printable(str(error))}); expected a textual "
            "inversion's safetensors; restore the file"
        ) from None
    known = [name for name in _OF_ENCODER[suffix] if name in tensors]
    others = {name for names in _OF_ENCODER.values() for name in names}
    if not known and suffix == "" and len(tensors) == 1 and not others & tensors.keys():
        known = list(tensors)  # diffusers': the word itself
    if not known:
        raise WeightsError(
            f"{path.name}: has no vectors for text_encoder{suffix} (it has "
            f"{printable(', '.join(tensors), 80)}); expected {' or '.join(_OF_ENCODER[suffix])}; "
            "choose an inversion that was learned on this architecture"
        )
    vectors = tensors[known[0]].float()
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or not 1 <= len(vectors) <= _LARGEST:
        raise WeightsError(
            f"{path.name}: has a tensor of {tuple(vectors.shape)}; expected 1 to {_LARGEST} "
            "vectors; choose another file"
        )
    if not bool(vectors.isfinite().all()):
        raise WeightsError(
            f"{path.name}: has vectors with numbers that are not finite; expected an inversion of "
            "a training that did not diverge; choose another file"
        )
    return Inversion(token, vectors)


def teach_tokenizer(tokenizer: Any, inversions: Sequence[Inversion]) -> None:
    """Add the words' pieces to a tokenizer, after all tokens that it has."""
    for inversion in inversions:
        added = tokenizer.add_tokens(inversion.pieces)
        if added != len(inversion.pieces):
            raise WeightsError(
                f"prior.textual_inversions: the tokenizer already knows {inversion.token!r}; "
                "expected a new word; choose another token, such as <my-style>"
            )


def spelled(prompt: str, inversions: Sequence[Inversion]) -> str:
    """Return the prompt with each learned word as its pieces.

    A word that starts or ends with a letter or digit is not read inside a longer one; of two
    words at one place the longer counts.
    """
    pieces = {inversion.token: " ".join(inversion.pieces) for inversion in inversions}
    if not pieces:
        return prompt
    # One pass: a word is never looked for in the pieces of another.
    words = "|".join(_as_word(token) for token in sorted(pieces, key=len, reverse=True))
    return re.sub(words, lambda match: pieces[match.group()], prompt)


def teach_encoder(encoder: Any, inversions: Sequence[Inversion], *, first: int, end: int) -> None:
    """Put the vectors behind the encoder's embedding, from token number `first` on.

    `end` is the number of the tokenizer's end token, where the encoder is then pooled.
    Raises WeightsError where they have another width.
    """
    embedding: nn.Embedding = encoder.get_input_embeddings()
    for inversion in inversions:
        if inversion.vectors.shape[1] != embedding.embedding_dim:
            raise WeightsError(
                f"prior.textual_inversions: {inversion.token} has vectors of "
                f"{inversion.vectors.shape[1]}; expected {embedding.embedding_dim}, the width of "
                "this text encoder; choose an inversion of this architecture"
            )
    rows = torch.cat([inversion.vectors for inversion in inversions])
    old = embedding.weight
    weight = old.new_zeros(max(len(old), first + len(rows)), old.shape[1])
    weight[: len(old)] = old
    weight[first : first + len(rows)] = rows.to(weight)
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(weight, freeze=True))
    # Published configurations have an end token of 2, with which transformers pools at the
    # highest number of a row: that would be a learned piece.
    for module in encoder.modules():
        if hasattr(module, "eos_token_id"):
            module.eos_token_id = end


def _as_word(token: str) -> str:
    """Return the pattern of a token that does not stand inside a longer word."""
    before = r"(?<!\w)" if re.match(r"\w", token) else ""
    after = r"(?!\w)" if re.search(r"\w$", token) else ""
    return before + re.escape(token) + after
