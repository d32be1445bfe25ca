"""Suites made from lists: what is added, what is skipped, and that no import is partial."""

import json
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.workspace import folder, import_prompts
from dreamfusion_kit.workspace.import_prompts import Imported
from dreamfusion_kit.workspace.pipeline import stale_pipelines


def add(
    workspace: Path, content: object, *, suite: str = "new", recipe: str | None = "analytic"
) -> Imported:
    source = workspace / "list.json"
    source.write_text(content if isinstance(content, str) else json.dumps(content))
    return import_prompts.import_prompts(workspace, suite, source, recipe=recipe, seed=None)


def files_of(workspace: Path) -> dict[str, bytes]:
    return {
        path.as_posix(): path.read_bytes()
        for path in sorted((workspace / "suites").rglob("*"))
        if path.is_file()
    }


def test_a_new_suite_is_whole(workspace: Path) -> None:
    imported = add(workspace, ["a red mug", {"prompt": "a cat: asleep", "seed": 7, "id": "cat"}])
    assert imported == Imported(("red_mug", "cat"), ())
    suite = check_suite(workspace, "new")
    assert {name: (asset.prompt, asset.seed) for name, asset in suite.assets.items()} == {
        "cat": ("a cat: asleep", 7),
        "red_mug": ("a red mug", 0),
    }
    assert stale_pipelines(workspace, suite) == []
    assert (workspace / "suites" / "new" / "assets" / "cat" / "kit.json").is_file()


def test_duplicates_are_named_and_skipped(workspace: Path) -> None:
    imported = add(workspace, ["a cat", "a dog", "a cat "])
    assert imported.added == ("cat", "dog")
    assert imported.skipped == ("list.json: [2]: the same as [0]",)
    again = add(workspace, ["a pie", "a dog"])
    assert again == Imported(("pie",), ("list.json: [1]: is there already as dog",))
    assert sorted(load_suite(workspace, "new").assets) == ["cat", "dog", "pie"]


def test_the_same_prompt_with_another_seed_is_another_asset(workspace: Path) -> None:
    imported = add(workspace, [{"prompt": "a cat", "seed": seed} for seed in (0, 1)])
    assert len(set(imported.added)) == 2
    assert imported.skipped == ()


def test_a_suites_seeds_hold_for_every_asset(workspace: Path) -> None:
    folder.new_suite(workspace, "new", seeds=(0, 2))
    assert add(workspace, ["a cat"]).added == ("cat",)
    suite = check_suite(workspace, "new")
    assert {name: asset.seed for name, asset in suite.assets.items()} == {"cat_s0": 0, "cat_s2": 2}
    assert add(workspace, ["a cat"]).skipped == ("list.json: [0]: is there already as cat",)
    with pytest.raises(RecipeError, match="seed: found 3, expected none"):
        add(workspace, [{"prompt": "a dog", "seed": 3}])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (["a cat", "a\ncat"], ["[1]: prompt: found the character U+000A"]),
        (["x" * 10_000], ['[0]: prompt: found "xxx']),
        (["a \u202etac"], ["[0]: prompt: found the character U+202E"]),
        (["a \x1b[31mcat"], ["[0]: prompt: found the character U+001B"]),
        ([""], ['[0]: prompt: found "", expected at least 1 character']),
        (["\ud800"], ["[0]: prompt: found half of a surrogate pair"]),
        ([{"prompt": "a cat", "recipe": "nope"}], ["[0]: recipe: found no recipes/nope.yaml"]),
        ([{"prompt": "a cat", "recipe": "../x"}], ["[0]: recipe '../x': expected a name"]),
        ([{"prompt": "a cat", "recipe": "clip"}], ["[0]: recipe: found no recipes/clip.yaml"]),
        ([{"prompt": "a cat", "id": "../x"}], ["[0]: id: found '../x', expected 1 to 64"]),
        ([{"prompt": "a cat", "seed": -1}], ["[0]: seed: found -1, expected a number of at least"]),
        ([{"prompt": "a cat", "seed": 2**63}], ["[0]: seed: found 9223372036854775808, expected"]),
        (
            [{"prompt": "a cat", "id": "x"}, {"prompt": "a dog", "id": "x"}],
            ["[1]: id x: is that of [0] too"],
        ),
        (["a\tcat", 3], ["[1]: found 3"]),
        (["a\tcat", "${x}\n", "b\tc"], ["[0]: prompt: ", "[2]: prompt: "]),
    ],
)
@pytest.mark.parametrize("suite", ["new", "trio"])
def test_every_problem_is_one_line_and_nothing_is_written(
    workspace: Path, suite: str, content: object, expected: list[str]
) -> None:
    before = files_of(workspace)
    with pytest.raises(RecipeError) as caught:
        add(workspace, content, suite=suite)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"list.json: {start}"), line
        assert line.isprintable()
    assert files_of(workspace) == before


def test_without_a_recipe_it_asks_for_one(workspace: Path) -> None:
    with pytest.raises(RecipeError, match=r"\[0\]: found no recipe, expected one; give --recipe"):
        add(workspace, ["a cat"], recipe=None)
    assert add(workspace, [{"prompt": "a cat", "recipe": "analytic"}], recipe=None).added


def test_an_id_of_the_suite_is_not_taken_over(workspace: Path) -> None:
    with pytest.raises(RecipeError, match="id red_ball: is taken in the suite"):
        add(workspace, [{"prompt": "a cat", "id": "red_ball"}], suite="trio")


def test_the_default_suite_is_refused(workspace: Path) -> None:
    with pytest.raises(RecipeError, match="suite default: expected another suite"):
        add(workspace, ["a cat"], suite="default")


def test_a_recipe_that_does_not_fit_the_suite_leaves_it_as_it_was(workspace: Path) -> None:
    """The suite's overrides hold for other recipes than this one."""
    path = workspace / "suites" / "trio" / "suite.yaml"
    text = path.read_text()
    path.write_text(text.replace("overrides: {}", "overrides: {prior.dtype: float32}"))
    before = files_of(workspace)
    with pytest.raises(RecipeError, match="dtype"):
        add(workspace, ["a cat"], suite="trio")
    assert {name: before[name] for name in before} == {
        name: content for name, content in files_of(workspace).items() if name in before
    }
    assert not (workspace / "suites" / "trio" / "assets" / "cat").exists()


def test_prompts_of_every_script_come_back_as_they_were(workspace: Path) -> None:
    prompts = [
        "一只猫",
        "قطة حمراء",
        "👩🏽‍🚀 on a horse",
        "'\"",
        "- a: b # c",
        "${x}",
        "<b>",
        "null",
    ]
    add(workspace, prompts)
    suite = check_suite(workspace, "new")
    assert sorted(asset.prompt for asset in suite.assets.values()) == sorted(prompts)
