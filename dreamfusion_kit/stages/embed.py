"""Stage embed: the prompt, seen from every side, becomes text features.

A stage of its own, so that the text encoder never shares memory with the optimisation.
"""

from pathlib import Path

import torch

from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.text import save_text
from dreamfusion_kit.recipe.suite import resolve
from dreamfusion_kit.stages import models
from dreamfusion_kit.stages.layout import SuiteLayout


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Write the features of the asset's prompts."""
    resolved = resolve(workspace, suite, asset)
    layout = SuiteLayout(workspace, suite)
    prior = models.load_prior(
        resolved.recipe.prior, layout.model(resolved.recipe_name), workspace, device
    )
    prompts = guidance_prompts(resolved.prompt, resolved.recipe.guidance)
    features = prior.encode_text(list(prompts.values()))
    target = layout.asset(asset).text
    target.parent.mkdir(parents=True, exist_ok=True)
    save_text(target, features, prompts)
    return target
