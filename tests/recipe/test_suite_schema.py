"""The files of a suite: what they refuse."""

from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.suite import load_suite

from .edits import edit


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite: default", "suite: other", "suite: found other, expected default"),
        (
            "recipes: [toybox]",
            "recipes: [toybox, analytic]",
            "recipes: found [toybox, analytic], expected exactly what the assets use: [toybox]",
        ),
        ("    recipe: toybox\n", "    recipe: clip\n", "recipe: found clip, the protocol's CLIP"),
        ("recipes: [toybox]", "recipes: []", "expected exactly what the assets use: [toybox]"),
        (
            "  red_mug:",
            "  Red-Mug:",
            'assets.Red-Mug: found "Red-Mug", expected 1 to 64 of a-z, 0-9',
        ),
        ("  red_mug:", "  12:", "found the key 12, expected text: put it in quotes"),
        ("a red mug", '""', 'prompt: found "", expected at least 1 character(s)'),
        ("a red mug", '" a mug"', "prompt: found white space at an end"),
        ("a red mug", r'"a\nmug"', "prompt: found the character U+000A, expected one line"),
        ("a red mug", r'"a\u2028mug"', "prompt: found the character U+2028"),
        ("a red mug", r'"a\e[2Jmug"', "prompt: found the character U+001B"),
        ("a red mug", "a \u202egum", "prompt: found the character U+202E, expected one line of"),
        ("a red mug", "a \u2067mug", "prompt: found the character U+2067"),
        ("a red mug", "a \u200bmug", "prompt: found the character U+200B"),
        ("a red mug", "a \ue000mug", "prompt: found the character U+E000"),
        ("a red mug", "x" * 501, "expected at most 500 characters"),
        ("a red mug", "x " * 5000 + "x", "expected at most 500 characters"),
        ("    seed: 0\n", "    seed: -1\n", "seed: found -1, expected a number of at least 0"),
        ("    seed: 0\n", f"    seed: {2**63}\n", "seed: found 9223372036854775808, expected"),
        ("    recipe: toybox\n", "    recipe: ../toybox\n", 'recipe: found "../toybox", expected'),
        ("    overrides: {}\n", "", "assets.red_mug.overrides: missing key"),
        ("    overrides: {}\n", "    overrides: []\n", "overrides: found [], expected a mapping"),
        ("evaluation:", "evaluations:", "evaluations: unknown key (did you mean evaluation?)"),
    ],
)
def test_what_a_suite_refuses(workspace: Path, old: str, new: str, message: str) -> None:
    edit(workspace / "params.yaml", old, new)
    with pytest.raises(RecipeError) as caught:
        load_suite(workspace, "default")
    error = str(caught.value)
    assert message in error
    assert error.startswith("params.yaml:")


@pytest.mark.parametrize(
    "prompt",
    [
        "כוס אדומה",
        "كوب أحمر",
        "می‌خواهم",
        "一个红色的杯子",
        "a 👩‍👩‍👧 family",
        "café 🏳️‍🌈",
        "mug " * 124 + "mug",
    ],
)
def test_a_prompt_may_be_in_any_script(workspace: Path, prompt: str) -> None:
    edit(workspace / "params.yaml", "a red mug", prompt)
    assert load_suite(workspace, "default").prompts["red_mug"] == prompt
