"""The toybox's tokenizer: CLIP's byte-level BPE, trained on the toybox's own English.

Any text is tokenizable; words outside the toybox fall into pieces that the prior has not
seen in that order.
"""

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from dreamfusion_kit.toybox.captions import corpus

MAX_TOKENS = 20
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def train_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer in which every word of the toybox is one token."""
    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*_SPECIAL, *alphabet, *(letter + "</w>" for letter in alphabet)]
    empty = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    # Large enough for every merge that occurs at least twice; training stops before it.
    trained = empty.train_new_from_iterator(corpus(), vocab_size=4096)
    trained.model_max_length = MAX_TOKENS
    return trained
