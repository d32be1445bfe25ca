"""Pretrained models as the lock files of the fetch stage pin them."""

from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.schema import SourceSection


def locked_directory(source: SourceSection, lock_path: Path, workspace: Path) -> Path:
    """Return the directory that holds exactly the files of the lock file."""
    return fetch.locate(source, workspace, files.read_json(lock_path, fetch.Lock, made_by="fetch"))


def load_prior(
    section: schema.PriorSection, lock_path: Path, workspace: Path, device: torch.device
) -> Teacher:
    """Return the recipe's prior, read from exactly the bytes that were fetched."""
    source = section.source
    directory = None if source is None else locked_directory(source, lock_path, workspace)
    return build_prior(section, directory, device)
