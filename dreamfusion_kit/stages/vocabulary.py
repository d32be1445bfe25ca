"""A note on stderr about prompts that the toybox priors cannot make."""

import sys

from dreamfusion_kit.errors import printable, shortened
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.recipe.schema import BundledSourceSection
from dreamfusion_kit.toybox.captions import names_object
from dreamfusion_kit.toybox.shapes import OBJECTS


def note_unknown_object(asset: ResolvedAsset) -> None:
    """Say that a toybox prior makes something else, if the prompt names none of its objects.

    Nothing refuses such a prompt: what comes of it may be what someone wants to see.
    """
    source = asset.recipe.prior.source
    if isinstance(source, BundledSourceSection) and not names_object(asset.prompt):
        prompt = shortened(printable(asset.prompt), 60)
        print(
            f"{asset.id}: found the prompt {prompt!r}, but the prior of the recipe "
            f"{asset.recipe_name} knows only {', '.join(OBJECTS)}, and will make something else; "
            "take a recipe with a pretrained prior, such as sd21",
            file=sys.stderr,
        )
