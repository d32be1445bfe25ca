"""A field as one safetensors file that also says what kind of field it holds.

Of fields that take turns each is a file of its own: the first, which is the asset, has the
name that was asked for, and `_1`, `_2` ... are added to the others'.
"""

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.base import Field
from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.field.particles import Particles
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.recipe.canonical import canonical_json
from dreamfusion_kit.recipe.schema import FieldOrParticlesSection, ParticlesSection, RendererSection
from dreamfusion_kit.seeding import generator

_KEY = "field"
T = TypeVar("T", bound=nn.Module)


def save_field(path: Path, field: Field | ProposalMlp, section: FieldOrParticlesSection) -> None:
    """Write the state of a field, or of its proposal network, with the field's section."""
    if isinstance(section, ParticlesSection):
        assert isinstance(field, Particles)
        for index, particle in enumerate(field.particles):
            own = path if index == 0 else path.with_stem(f"{path.stem}_{index}")
            save_field(own, particle, section.particle)
        return
    tensors = {name: tensor.contiguous() for name, tensor in field.state_dict().items()}
    save_file(tensors, path, metadata={_KEY: canonical_json(section)})


def load_field(path: Path, section: FieldOrParticlesSection) -> Field:
    """Return one field on the CPU; CheckpointError if the file is not one of `section`."""
    if isinstance(section, ParticlesSection):
        section = section.particle
    return _load(build_field(section, generator=generator(0, "placeholder")), path, section)


def load_proposal(
    path: Path, renderer: RendererSection, section: FieldOrParticlesSection
) -> ProposalMlp | None:
    """Return the proposal network of the field of `section`; None where there is none."""
    proposal = build_proposal(renderer, section, generator=generator(0, "placeholder"))
    return None if proposal is None else _load(proposal, path, section)


def _load(module: T, path: Path, section: FieldOrParticlesSection) -> T:
    tensors = _read(path, section)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: tensors do not fit the recipe's field: {error}") from error
    return module


def _read(path: Path, section: FieldOrParticlesSection) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(_KEY)
            if found != canonical_json(section):
                raise CheckpointError(
                    f"{path}: holds the field {found}, expected {canonical_json(section)}; "
                    "run the optimize stage again"
                )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a field ({error}); run the optimize stage again"
        ) from error
