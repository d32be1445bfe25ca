"""Pretrained models, as pinned by the fetch stage's lock files."""

from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.priors import additions, fetch
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema


def load_prior(
    section: schema.PriorSection, lock_path: Path, workspace: Path, device: torch.device
) -> Teacher:
    """Return the recipe's prior, read from exactly the bytes that were fetched."""
    if section.source is None:
        return build_prior(section, None, device)
    lock = files.read_json(lock_path, fetch.Lock, made_by="fetch")
    model = additions.locate(section.source, section.additions, workspace, lock)
    return build_prior(section, model.directory, device, model.additions)
