"""Which of the kit's two protocols fits a recipe."""

from dreamfusion_kit.recipe.schema import (
    FileSourceSection,
    HubSourceSection,
    LocalSourceSection,
    Recipe,
)
from dreamfusion_kit.workspace.pipeline import TEMPLATES


def is_pretrained(recipe: Recipe) -> bool:
    """Return whether a recipe's prior knows any prompt, not only the toybox's captions."""
    return isinstance(
        recipe.prior.source, HubSourceSection | FileSourceSection | LocalSourceSection
    )


def protocol(recipe: Recipe) -> str:
    """Return the `evaluation:` block for suites made by such recipes, with comments."""
    name = "evaluation_pretrained.yaml" if is_pretrained(recipe) else "evaluation_toybox.yaml"
    return (TEMPLATES / name).read_text(encoding="utf-8")
