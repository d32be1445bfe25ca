"""Pretrained models, as pinned by the fetch stage's lock files."""

from collections.abc import Mapping
from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.base import Prior, Teacher
from dreamfusion_kit.priors.build import build_prior, unchecked_prior
from dreamfusion_kit.priors.source import parts
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe.schema import Recipe


def load_prior(
    recipe: Recipe, lock_path: Path, workspace: Path, device: torch.device, *, key: str = "guidance"
) -> Teacher:
    """Return the prior of the guidance at `key`, read from exactly the bytes that were fetched."""
    name = recipe.prior_key(key)
    return built(recipe, name, _located(recipe, name, lock_path, workspace), device)


def load_phi(
    recipe: Recipe, lock_path: Path, workspace: Path, device: torch.device, *, key: str = "guidance"
) -> Prior | None:
    """Return the model that lends its network to the phi of the guidance at `key`, if any does."""
    if recipe.phi_of(key) is None:
        return None
    located = _located(recipe, f"{key}.phi", lock_path, workspace)
    return built_phi(recipe, key, located, device)


def built(
    recipe: Recipe, name: str, found: Mapping[str, parts.Model], device: torch.device
) -> Teacher:
    """Return the model `name` of `Recipe.models` from its files, if it has any."""
    section = recipe.models[name]
    if section.source is None:
        return build_prior(section, None, device)
    return build_prior(section, found[name].directory, device, found[name].additions)


def built_phi(
    recipe: Recipe, key: str, found: Mapping[str, parts.Model], device: torch.device
) -> Prior | None:
    """Return the model of the phi of the guidance at `key` from its files, if it has its own.

    Its text encoder and VAE are never read and need not be there.
    """
    section = recipe.phi_of(key)
    if section is None:
        return None
    model = unchecked_prior(section, found[f"{key}.phi"].directory, device)
    if not isinstance(model, Prior):
        raise RecipeError(f"{key}.phi.source: found no diffusion model, expected one")
    return model


def _located(recipe: Recipe, name: str, lock_path: Path, workspace: Path) -> dict[str, parts.Model]:
    """Return where the model's files are; nothing for a model without any."""
    section = recipe.models[name]
    if section.source is None:
        return {}
    lock = files.read_json(lock_path, Lock, made_by="fetch")
    own, others = parts.split(lock, [other for other in recipe.models if other != "prior"])
    part = own if name == "prior" else others[name]
    return {name: parts.locate(section.source, section.additions, workspace, part)}
