"""A prompt as the text features that its guidance needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import Recipe


@dataclass(frozen=True)
class EmbeddedPrompt:
    """A prompt in every form that the guidance needs.

    Row i of `features` belongs to the i-th entry of `prompts`, whose keys say what each text
    is for: the views, then the negative prompt and the like.
    """

    prompt: str
    features: TextFeatures
    prompts: Mapping[str, str]


def embed_prompt(
    prompt: str, recipe: Recipe, prior: Teacher, *, key: str = "guidance"
) -> EmbeddedPrompt:
    """Return the prior's text features of `prompt` for each view, on the prior's device.

    A pretrained prior loads its text encoder here and drops it again. `key` is that of the
    guidance, one of `Recipe.guidances`.

    Raises:
        WeightsError: where the prior cannot read the text.
    """
    prompts = guidance_prompts(prompt, recipe.guidances[key])
    return EmbeddedPrompt(prompt, prior.encode_text(list(prompts.values())), prompts)
