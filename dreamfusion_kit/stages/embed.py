"""Stage embed: the prompt, seen from every side, becomes text features.

A stage of its own, so that the text encoder never shares memory with the optimisation.
"""

from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.guidance.embed import embed_prompt
from dreamfusion_kit.priors.text import Texts, save_text
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.vocabulary import note_unknown_object


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Write the features of the asset's prompts, by each prior that reads some of its own."""
    resolved = resolve(workspace, suite, asset)
    origin.refuse_imported(resolved, "embed")
    note_unknown_object(resolved)
    layout = SuiteLayout(workspace, suite)
    target = layout.asset(asset).text
    files.check_writable(target, folder=False)
    lock_path = layout.model(resolved.recipe_name)

    def texts(key: str) -> Texts:
        prior = models.load_prior(resolved.recipe, lock_path, workspace, device, key=key)
        made = embed_prompt(resolved.prompt, resolved.recipe, prior, key=key)
        return Texts(made.features, made.prompts)

    first, *others = resolved.recipe.text_keys
    own = texts(first)
    save_text(target, own.features, own.prompts, {key: texts(key) for key in others})
    return target
