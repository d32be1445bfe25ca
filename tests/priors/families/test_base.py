"""Prompts of the families: nothing is cut, and no template of a downloaded file is run."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from dreamfusion_kit.errors import RecipeError

from .conftest import COMPONENTS, Save, build

FAMILIES = sorted(COMPONENTS)
# The tiny T5 reads 16; Qwen-Image's template alone takes 128 of these tokenizers' bytes.
LONGEST = {"pixart_sigma": 16, "qwen_image": 150}
TEMPLATE = {"flux2_klein": 25, "pixart_sigma": 2, "qwen_image": 128, "sana": 2, "z_image": 19}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_the_longest_length_is_read_and_one_more_is_refused(
    saved: Save, family: str
) -> None:
    directory = saved(family)
    tokens = LONGEST.get(family, 100)
    prior = build(directory, text_tokens=tokens)
    # A letter is a token in these tokenizers, so the longest prompt is what the rest leaves.
    longest = tokens - TEMPLATE[family]
    prior.encode_text(["b" * longest])
    said = f" {tokens + 1} tokens .*prior.text_tokens allows {tokens}"
    with pytest.raises(RecipeError, match=said):
        prior.encode_text(["b" * (longest + 1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_words_of_a_long_prompt_matter(saved: Save, family: str) -> None:
    prior = build(saved(family), text_tokens=LONGEST.get(family, 100))
    stem = "b" * 10
    one, other = prior.encode_text([f"{stem}a", f"{stem}c"]).tensors["hidden"]
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("family", ["flux2_klein", "z_image", "qwen_image", "sana"])
def test_all_scripts_quotes_and_emoji_reach_the_model(saved: Save, family: str) -> None:
    """These tokenizers know every byte; what comes back is what went in."""
    tokenizer = AutoTokenizer.from_pretrained(saved(family) / "tokenizer")
    prompt = "“狐” 'лиса' ثعلب 🦊"
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == prompt
    prior = build(saved(family))
    rows = prior.encode_text([prompt, "''  🦊"]).tensors["hidden"]
    assert not torch.allclose(rows[0], rows[1])


def test_a_model_s_own_template_is_not_run(saved: Save, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(saved("z_image"), tmp_path / "model"))
    expected = build(directory).encode_text(["a"]).tensors["hidden"]
    tokenizer = AutoTokenizer.from_pretrained(directory / "tokenizer")
    tokenizer.chat_template = "{% for i in range(10**9) %}x{% endfor %}"
    tokenizer.save_pretrained(directory / "tokenizer")
    torch.testing.assert_close(build(directory).encode_text(["a"]).tensors["hidden"], expected)
