"""Pretrained models, as pinned by the fetch stage's lock files."""

from pathlib import Path

import torch

from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.stages.locked import locked_directory


def load_prior(
    section: schema.PriorSection, lock_path: Path, workspace: Path, device: torch.device
) -> Teacher:
    """Return the recipe's prior, read from exactly the bytes that were fetched."""
    source = section.source
    directory = None if source is None else locked_directory(source, lock_path, workspace)
    return build_prior(section, directory, device)
