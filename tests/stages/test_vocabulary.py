"""What embed tells about prompts."""

import pytest

from dreamfusion_kit import load_recipe
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.stages.vocabulary import note_unknown_object


@pytest.mark.parametrize(
    ("prompt", "recipe", "is_noted"),
    [
        ("a corgi", "toybox", True),
        ("a corgi", "toybox-clip", True),
        ("cars", "toybox-latent", True),
        ("a corgi", "sd21", False),
        ("a corgi", "analytic", False),
        ("a red mug", "toybox", False),
        ("A photo of the Green ROBOT.", "magic3d-toybox", False),
    ],
)
def test_a_prompt_that_the_toybox_does_not_know_is_noted(
    prompt: str, recipe: str, is_noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    note_unknown_object(ResolvedAsset("one", "default", prompt, 0, recipe, load_recipe(recipe)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == (1 if is_noted else 0)
    if is_noted:
        for part in ("one: ", repr(prompt), recipe, "snowman", "sd21"):
            assert part in printed.err
