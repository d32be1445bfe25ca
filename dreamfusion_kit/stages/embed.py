"""Stage embed: the prompt, seen from every side, becomes text features.

A stage of its own, so that the text encoder never shares memory with the optimisation.
"""

from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.guidance.embed import embed_prompt
from dreamfusion_kit.priors.text import save_text
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.layout import SuiteLayout


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Write the features of the asset's prompts."""
    resolved = resolve(workspace, suite, asset)
    origin.refuse_imported(resolved, "embed")
    layout = SuiteLayout(workspace, suite)
    target = layout.asset(asset).text
    files.check_writable(target, folder=False)
    prior = models.load_prior(
        resolved.recipe.prior, layout.model(resolved.recipe_name), workspace, device
    )
    text = embed_prompt(resolved.prompt, resolved.recipe, prior)
    save_text(target, text.features, text.prompts)
    return target
