"""Tokenizers: what they need installed, and what they refuse to cut."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from dreamfusion_kit.errors import MissingExtraError, RecipeError, WeightsError
from dreamfusion_kit.priors.text_encoders import clip_hidden, tokenize


@pytest.fixture
def without_sentencepiece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide both packages if they are installed."""
    for module in ("sentencepiece", "google.protobuf"):
        monkeypatch.setitem(sys.modules, module, None)


def test_a_sentencepiece_vocabulary_names_the_packages_it_needs(
    tmp_path: Path, without_sentencepiece: None
) -> None:
    # DeepFloyd IF's tokenizer/ holds these and special_tokens_map.json.
    directory = tmp_path / "if" / "tokenizer"
    directory.mkdir(parents=True)
    (directory / "spiece.model").write_bytes(b"")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(
        MissingExtraError,
        match=r"^if/tokenizer: .* protobuf and sentencepiece not installed.*pip install .*\[t5\]",
    ):
        tokenize(directory, ["a mug"], 8)


def test_beside_a_tokenizer_json_they_are_not_needed(
    tmp_path: Path, tokenizer: CLIPTokenizer, without_sentencepiece: None
) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    tokens, mask = tokenize(tmp_path, ["a mug", "a red mug"], 24)
    assert tokens.shape == mask.shape == (2, 24)
    lengths = [len(ids) for ids in tokenizer(["a mug", "a red mug"]).input_ids]
    assert mask.sum(1).tolist() == lengths


def test_a_prompt_is_never_cut(tmp_path: Path, tokenizer: CLIPTokenizer) -> None:
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"'a mug': .* reads at most 3; shorten the prompt"):
        tokenize(tmp_path, ["a mug"], 3)


def test_a_token_outside_the_embedding_is_named(stable_diffusion: Path, tmp_path: Path) -> None:
    """One that the tokenizer makes when it is read, which no vocabulary's file has."""
    directory = Path(shutil.copytree(stable_diffusion, tmp_path / "sd"))
    path = directory / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<new>"}))
    with pytest.raises(WeightsError, match=r"^sd/tokenizer: numbers a token 56; expected less"):
        clip_hidden(directory, ["a mug"], torch.device("cpu"))


def test_a_long_prompt_is_refused_or_read_in_chunks(stable_diffusion: Path) -> None:
    """Each chunk is what the prompt of its words alone would give, one after the other."""
    device = torch.device("cpu")
    words = ["a" * 14, "b" * 14, "c" * 3]  # a letter is a token: two chunks of 14, and three more
    with pytest.raises(RecipeError, match=r"33 tokens .* reads at most 16; .*long_prompts"):
        clip_hidden(stable_diffusion, ["".join(words)], device)
    # The tokenizer marks a word's last letter, so the words are told apart by spaces.
    prompts = [" ".join("".join(words)), "a"]
    found = clip_hidden(stable_diffusion, prompts, device, chunk=True)
    assert found.shape == (2, 3 * 16, 12)
    for index, word in enumerate(words):
        alone = clip_hidden(stable_diffusion, [" ".join(word)], device)
        torch.testing.assert_close(found[:1, 16 * index : 16 * (index + 1)], alone)
    nothing = clip_hidden(stable_diffusion, [""], device)
    torch.testing.assert_close(found[1:, 16:32], nothing)
    torch.testing.assert_close(found[1:, :16], clip_hidden(stable_diffusion, ["a"], device))


def test_short_prompts_are_the_same_in_chunks(stable_diffusion: Path) -> None:
    device = torch.device("cpu")
    prompts = ["a mug", ""]
    assert torch.equal(
        clip_hidden(stable_diffusion, prompts, device, chunk=True),
        clip_hidden(stable_diffusion, prompts, device),
    )
