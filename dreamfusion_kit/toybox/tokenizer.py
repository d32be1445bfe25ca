"""The toybox's tokenizer: CLIP's byte-level BPE, trained on the toybox's own English.

Any text can be tokenised; words outside the toybox are split into pieces that the models
have not seen in that order. The numbering is part of the trained weights and must be the same
in every process. The tokenizers library's own training numbers letters in the order of a
randomly keyed hash map, so the merges are learnt here.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from dreamfusion_kit.toybox.captions import corpus

MAX_TOKENS = 20
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_END = "</w>"  # marks a word's last letter

Pair = tuple[str, str]


def train_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer in which every word of the toybox is one token ("3d" is two)."""
    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*_SPECIAL, *alphabet, *(letter + _END for letter in alphabet)]
    merges = learn_merges(_word_counts(_tokenizer(pieces, [])))
    return _tokenizer([*pieces, *("".join(pair) for pair in merges)], merges)


def learn_merges(counts: Mapping[str, int]) -> list[Pair]:
    """Return the byte-pair merges, in order, that make one piece of every word.

    The pair with the highest count comes first (Sennrich et al. 2016, algorithm 1); ties go
    to the alphabetically first.
    """
    words = {word: [*word[:-1], word[-1] + _END] for word in counts}
    merges: list[Pair] = []
    while pairs := _pair_counts(words, counts):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(pieces, best) for word, pieces in words.items()}
    return merges


def _tokenizer(pieces: list[str], merges: list[Pair]) -> CLIPTokenizer:
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    lines: Any = merges  # Its stubs ask for "a b" lines, but it takes pairs.
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=lines)
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def _word_counts(tokenizer: CLIPTokenizer) -> Counter[str]:
    """Count the corpus's words as the tokenizer splits them."""
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    return Counter(word for line in corpus() for word, _ in split(line))


def _pair_counts(words: Mapping[str, list[str]], counts: Mapping[str, int]) -> Counter[Pair]:
    pairs: Counter[Pair] = Counter()
    for word, pieces in words.items():
        for pair in itertools.pairwise(pieces):
            pairs[pair] += counts[word]
    return pairs


def _merged(pieces: list[str], pair: Pair) -> list[str]:
    """Join every occurrence of `pair`, from the left."""
    result: list[str] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result
