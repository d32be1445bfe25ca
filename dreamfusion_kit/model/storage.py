"""A model's learned parts as safetensors files in one directory.

    field.safetensors         the field, with its section in the header
    field_1.safetensors ...   for fields that take turns, those after the first
    background.safetensors    a learned background
    proposal.safetensors      a proposal network, with the field's section in the header

The header allows a file from another recipe to be refused. A number that is not finite is
refused too: later it would become a black picture or an empty mesh.
"""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.base import Field
from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.field.particles import Particles
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.model.background import Background, build_background
from dreamfusion_kit.recipe.canonical import canonical_json
from dreamfusion_kit.recipe.schema import (
    BackgroundSection,
    FieldOrParticlesSection,
    ParticlesSection,
    RendererSection,
)
from dreamfusion_kit.seeding import generator

FIELD = "field.safetensors"
_BACKGROUND = "background.safetensors"
_PROPOSAL = "proposal.safetensors"
_KEY = "field"
_AGAIN = "run the optimize stage again"
T = TypeVar("T", bound=nn.Module)


def save_field(directory: Path, field: Field, section: FieldOrParticlesSection) -> None:
    """Write the field or, for fields that take turns, each as a file of its own.

    For those, `load_field` returns one field, which can be saved again as it was.
    """
    if not isinstance(section, ParticlesSection):
        _save(directory / FIELD, field, section)
        return
    if not isinstance(field, Particles):
        _save(directory / FIELD, field, section.particle)
        return
    first = directory / FIELD
    for index, particle in enumerate(field.particles):
        path = first if index == 0 else first.with_stem(f"{first.stem}_{index}")
        _save(path, particle, section.particle)


def load_field(directory: Path, section: FieldOrParticlesSection) -> Field:
    """Return one field on the CPU, the first of those that take turns.

    Raises CheckpointError if the file is not one of `section`, as the other loaders do.
    """
    if isinstance(section, ParticlesSection):
        section = section.particle
    field = build_field(section, generator=generator(0, "placeholder"))
    return _load(field, directory / FIELD, section)


def save_background(directory: Path, background: Background) -> None:
    """Write a learned background; a plain one has no state and no file."""
    if tensors := background.state_dict():
        save_file(tensors, directory / _BACKGROUND)


def load_background(directory: Path, section: BackgroundSection) -> Background:
    """Return the background of `section` on the CPU."""
    background = build_background(section, generator=generator(0, "placeholder"))
    if not background.state_dict():
        return background
    return _load(background, directory / _BACKGROUND, None)


def save_proposal(directory: Path, proposal: ProposalMlp, section: FieldOrParticlesSection) -> None:
    """Write the proposal network of the field of `section`."""
    _save(directory / _PROPOSAL, proposal, section)


def load_proposal(
    directory: Path, renderer: RendererSection, section: FieldOrParticlesSection
) -> ProposalMlp | None:
    """Return the proposal network of the field of `section`; None where there is none."""
    proposal = build_proposal(renderer, section, generator=generator(0, "placeholder"))
    return None if proposal is None else _load(proposal, directory / _PROPOSAL, section)


def _save(path: Path, module: nn.Module, section: FieldOrParticlesSection) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path, metadata={_KEY: canonical_json(section)})


def _load(module: T, path: Path, section: FieldOrParticlesSection | None) -> T:
    tensors = _read(path, section)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: tensors do not fit the recipe ({reason}), expected those of this recipe; "
            f"{_AGAIN}"
        ) from error
    for name, tensor in tensors.items():
        if bad := int((~torch.isfinite(tensor)).sum()):
            raise CheckpointError(
                f"{path}: {bad} of {tensor.numel()} numbers of {name} are not finite, expected "
                f"finite numbers; {_AGAIN}"
            )
    return module


def _read(path: Path, section: FieldOrParticlesSection | None) -> dict[str, Tensor]:
    """Return the tensors of a file; its header has to name `section`, unless that is None."""
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(_KEY)
            if section is not None and found != canonical_json(section):
                raise CheckpointError(
                    f"{path}: holds the field {found}, expected {canonical_json(section)}; {_AGAIN}"
                )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be read as a field ({reason}); {_AGAIN}") from error
