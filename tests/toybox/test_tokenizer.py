"""The tokenizer: one token per word of the toybox, any text readable, one numbering for ever."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from dreamfusion_kit.toybox.captions import corpus
from dreamfusion_kit.toybox.tokenizer import MAX_TOKENS, learn_merges, train_tokenizer

ROOT = Path(__file__).parents[2]
PRINT_HASH = """
import hashlib
from dreamfusion_kit.toybox.tokenizer import train_tokenizer
text = train_tokenizer().backend_tokenizer.to_str()
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer()


def test_every_toybox_word_is_one_token(tokenizer: CLIPTokenizer) -> None:
    words = sorted({word.strip(",") for line in corpus() for word in line.split()} - {"3d"})
    assert len(words) > 40
    split = {word: tokenizer.tokenize(word) for word in words}
    assert {word: pieces for word, pieces in split.items() if len(pieces) != 1} == {}
    assert len({pieces[0] for pieces in split.values()}) == len(words)


def test_every_caption_fits(tokenizer: CLIPTokenizer) -> None:
    assert max(len(ids) for ids in tokenizer(list(corpus())).input_ids) <= MAX_TOKENS
    assert tokenizer.model_max_length == MAX_TOKENS


@pytest.mark.parametrize(
    "text", ["a red mug", "zebras, eating 3 grapes!", "ein grünes haus", "日本", "naïve café"]
)
def test_any_text_is_read_back(tokenizer: CLIPTokenizer, text: str) -> None:
    """Nothing becomes the unknown token, which is the end of the text."""
    ids = tokenizer(text).input_ids
    assert ids.count(tokenizer.eos_token_id) == 1
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_the_numbering_is_the_same_in_every_process() -> None:
    """It is part of the weights: a resumed training run must not learn its words again."""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PRINT_HASH],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(hashes) == 1


def test_merges_of_a_corpus_worked_by_hand() -> None:
    """The words of Sennrich et al. 2016, algorithm 1, with the last letter marked."""
    merges = learn_merges({"low": 5, "lowest": 2, "newer": 6, "wider": 3})
    # 9 times, 7 times, then three pairs 6 times each, the alphabetically first at a time.
    assert merges[:5] == [
        ("e", "r</w>"),
        ("l", "o"),
        ("e", "w"),
        ("ew", "er</w>"),
        ("n", "ewer</w>"),
    ]
    joined = {"".join(pair) for pair in merges}
    assert {"low</w>", "lowest</w>", "newer</w>", "wider</w>"} <= joined
