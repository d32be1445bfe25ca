"""Prompts of every script: they reach tokenizers that know them, and are refused by others."""

import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerFast

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.source.single_file import _write_tokenizer
from dreamfusion_kit.priors.text_encoders import tokenize
from dreamfusion_kit.priors.unknown_tokens import refuse_unknown

ROOT = Path(__file__).parents[2]
PROMPTS = {
    "emoji": "a 🐕 with a 👩‍🚀",
    "right to left": "כלב אדום",
    "joined letters": "كلب أحمر",
    "no spaces": "赤いマグカップ",
    "quotes": "a \u201cmug\u201d that says \u2018it\u2019s\u2019",
    "brackets": "a {red} <mug> ~",
    "accents": "un éléphant à côté d'une théière",
    "combining": "e\u0301te\u0301",
}


def words_alone() -> PreTrainedTokenizerFast:
    """Return a tokenizer with a few whole words and one token for everything else, as T5's."""
    vocabulary = {word: index for index, word in enumerate(("<unk>", "<pad>", "a", "red", "mug"))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<pad>")


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_clip_knows_every_byte(prompt: str, tmp_path: Path) -> None:
    _write_tokenizer(tmp_path / "tokenizer", "!")  # the vocabulary that comes with the kit
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    refuse_unknown(tokenizer, [prompt])
    tokens, _ = tokenize(tmp_path / "tokenizer", [prompt, ""], 77)
    assert len(set(tokens[0].tolist())) > 3
    found = tokenizer.decode(tokens[0], skip_special_tokens=True).replace(" ", "")
    composed = unicodedata.normalize("NFC", prompt).lower()
    assert found == composed.replace(" ", "")


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_the_toybox_s_knows_every_byte(prompt: str) -> None:
    folder = ROOT / "dreamfusion_kit/toybox/weights/prior/tokenizer"
    refuse_unknown(AutoTokenizer.from_pretrained(folder), [prompt])


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_vocabulary_without_them_refuses_them(prompt: str, tmp_path: Path) -> None:
    words_alone().save_pretrained(tmp_path)
    tokenize(tmp_path, ["a red mug"], 8)
    with pytest.raises(RecipeError, match="the prior's tokenizer does not know") as caught:
        tokenize(tmp_path, ["a red mug", f"a red {prompt}"], 20)
    message = str(caught.value)
    assert message.startswith(f"prompt {f'a red {prompt}'!r}: ")
    assert "'red'" not in message
    assert repr(prompt.split()[-1]) in message
