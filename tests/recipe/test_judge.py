"""What a CLIP can read, known before it is fetched."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.edit import add_asset
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.judge import (
    directory_reader,
    estimated_tokens,
    fewest_tokens,
    load_tokenizer,
    reading_notes,
    unreadable,
)
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.recipe.suite import load_suite

ROOT = Path(__file__).parents[2]
TOYBOX = Path("dreamfusion_kit/toybox/weights/clip")
CACTUS = "a small saguaro cactus planted in a clay pot"
TEXTS = (
    "a red mug", "A Red  mug.", "a 3d model, 12 cm", "don't stop; we'll go", "ünïcödé ☃",
    "中文 提示", "x" * 40, "a_b--c!!", "¼ of ½", "e\u0301toile",
)  # fmt: skip


@pytest.fixture
def judged(workspace: Path) -> Path:
    """Return a workspace whose judge, the toybox CLIP, is there."""
    shutil.copytree(ROOT / TOYBOX, workspace / TOYBOX)
    return workspace


def protocol(**changes: Any) -> EvaluationSection:
    data: Any = load_yaml(ROOT / "params.yaml").data["evaluation"]
    return EvaluationSection.model_validate_json(json.dumps(data | changes))


HUB = {
    "kind": "hub", "repository": "openai/clip", "revision": "ab" * 20, "mirrors": [],
    "files": ["*.json"], "license_note": "MIT",
}  # fmt: skip


def test_tokens_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    reference: Any = AutoTokenizer.from_pretrained(ROOT / TOYBOX, local_files_only=True)
    encode = load_tokenizer(ROOT / TOYBOX)
    for text in TEXTS:
        assert encode(text) == reference([text])["input_ids"][0], text


@pytest.mark.parametrize("text", TEXTS)
def test_the_lower_bound_is_one(text: str) -> None:
    assert fewest_tokens(text) <= len(load_tokenizer(ROOT / TOYBOX)(text))


def test_the_bound_counts_words_digits_and_runs_of_punctuation() -> None:
    assert fewest_tokens("a corgi's 12 bones!!") == 2 + 7
    assert estimated_tokens("a corgi") == 2 + 2
    assert estimated_tokens("incomprehensibilities") == 2 + 4


def test_a_local_judge_counts_exactly(judged: Path) -> None:
    by_asset, of_pool = unreadable(protocol(), {"a": "a red mug", "b": CACTUS}, judged)
    assert list(by_asset) == ["b"]
    assert "found 34 tokens, expected at most 20" in by_asset["b"]
    assert "or to null" in by_asset["b"]
    assert of_pool == []


def test_captions_of_a_file_are_counted_too(judged: Path) -> None:
    (judged / "captions.txt").write_text(f"a red mug\n{CACTUS}\n")
    section = protocol(caption_pool={"kind": "file", "path": "captions.txt"})
    _, of_pool = unreadable(section, {"a": "a red mug"}, judged)
    assert len(of_pool) == 1
    assert "of the pool: found 34 tokens" in of_pool[0]


def test_a_judge_that_is_not_here_yet_refuses_what_it_certainly_cannot_read(
    workspace: Path,
) -> None:
    long = " ".join(["a"] * 76)
    by_asset, _ = unreadable(protocol(clip=HUB), {"a": CACTUS, "b": long}, workspace)
    assert list(by_asset) == ["b"]
    assert "found 78 tokens or more, expected at most 77" in by_asset["b"]


def test_a_prompt_that_may_be_too_long_is_noted(workspace: Path) -> None:
    maybe = " ".join(["incomprehensible"] * 28)
    prompts = {"short": CACTUS, "maybe": maybe, "long": " ".join(["a"] * 76)}
    notes = reading_notes(protocol(clip=HUB), prompts, workspace)
    assert list(notes) == ["maybe"]
    assert "by estimate" in notes["maybe"]
    assert reading_notes(protocol(clip=None), prompts, workspace) == {}


def test_without_a_judge_anything_may_be_asked_for(judged: Path) -> None:
    assert unreadable(protocol(clip=None), {"a": CACTUS}, judged) == ({}, [])


def test_a_suite_names_the_line_of_the_prompt(judged: Path) -> None:
    params = judged / "params.yaml"
    params.write_text(params.read_text().replace("a red mug", CACTUS, 1))
    line = params.read_text().splitlines().index(f"    prompt: {CACTUS}") + 1
    with pytest.raises(RecipeError) as caught:
        check_suite(judged, "default")
    message = str(caught.value)
    assert message.startswith(f"params.yaml:{line}: assets.red_mug.prompt: found 34 tokens")
    assert len(message.splitlines()) == 1


def test_an_asset_that_cannot_be_judged_is_not_added(judged: Path) -> None:
    before = (judged / "params.yaml").read_bytes()
    with pytest.raises(RecipeError, match="found 34 tokens"):
        add_asset(judged, "cactus", prompt=CACTUS, recipe="toybox", seed=0)
    assert (judged / "params.yaml").read_bytes() == before
    assert "cactus" not in load_suite(judged, "default").assets


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"text_config": {"max_position_embeddings": "many"}}'),
        ("config.json", '{"text_config": {"max_position_embeddings": 1e9}}'),
        ("config.json", '{"text_config": 3}'),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "\x00"),
    ],
)
def test_a_damaged_judge_is_one_line(judged: Path, name: str, content: str) -> None:
    (judged / TOYBOX / name).write_text(content)
    with pytest.raises(RecipeError, match="fetch it again") as caught:
        directory_reader(judged / TOYBOX)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_heavy_is_loaded() -> None:
    import subprocess
    import sys

    code = (
        "import sys, dreamfusion_kit.recipe.check;"
        "print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
