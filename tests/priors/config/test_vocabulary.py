"""Vocabularies in each layout, against the embedding that they index."""

import json
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.vocabulary import check_vocabulary

WORDS = {"a": 0, "mug": 1, "red": 2}


def whole(vocabulary: Any, added: Any = ()) -> dict[str, Any]:
    return {"tokenizer.json": {"model": {"vocab": vocabulary}, "added_tokens": added}}


def check(directory: Path, files: dict[str, Any], vocab_size: int) -> None:
    for name, values in files.items():
        (directory / name).write_text(json.dumps(values))
    check_vocabulary(directory, vocab_size)


@pytest.mark.parametrize(
    ("files", "highest"),
    [
        (whole(WORDS), 2),
        (whole(WORDS, [{"id": 5, "content": "<pad>"}]), 5),
        (whole([["a", -1.0], ["b", -2.5]]), 1),
        ({"vocab.json": WORDS}, 2),
        ({"vocab.json": WORDS, "added_tokens.json": {"<pad>": 7}}, 7),
    ],
)
def test_the_embedding_holds_every_token(
    tmp_path: Path, files: dict[str, Any], highest: int
) -> None:
    check(tmp_path, files, highest + 1)
    with pytest.raises(WeightsError, match=rf"numbers a token {highest}; expected 0 to "):
        check(tmp_path, files, highest)


@pytest.mark.parametrize(
    "files",
    [
        whole(WORDS | {"bad": -1}),
        whole(WORDS | {"bad": "3"}),
        whole(WORDS | {"bad": True}),
        whole(WORDS, [{"id": None}]),
        whole(WORDS, ["x"]),
        whole(WORDS, {"id": 1}),
        whole("abc"),
        {"tokenizer.json": {}},
        {"tokenizer.json": []},
        {"vocab.json": {"a": 0.5}},
        {"vocab.json": {}},
        {"vocab.json": WORDS, "added_tokens.json": {"x": None}},
        {},
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(WeightsError) as caught:
        check(tmp_path, files, 100)
    assert str(caught.value).isprintable()
