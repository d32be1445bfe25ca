"""Pretrained models as the lock files of the fetch stage pin them."""

from pathlib import Path

import torch

from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.schema import SourceSection
from dreamfusion_kit.stages.locked import locked_directory


def source_of(prior: schema.PriorSection) -> SourceSection | None:
    """Return where the prior's files come from; None where it has none."""
    return None if isinstance(prior, schema.AnalyticSection) else prior.source


def load_prior(
    section: schema.PriorSection, lock_path: Path, workspace: Path, device: torch.device
) -> Teacher:
    """Return the recipe's prior, read from exactly the bytes that were fetched."""
    source = source_of(section)
    directory = None if source is None else locked_directory(source, lock_path, workspace)
    return build_prior(section, directory, device)
