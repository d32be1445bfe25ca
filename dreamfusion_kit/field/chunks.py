"""Querying a field at any number of positions in bounded memory, where nothing is learned."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.field.base import Field
from dreamfusion_kit.records import FieldSample

# With normals, the paper's network holds about 12 KB per position, a hash grid about 3.
_CHUNK = 1 << 17


def sample_in_chunks(
    field: Field,
    positions: Float[Tensor, "samples 3"],
    with_normals: bool,
    variances: Float[Tensor, "samples 3"] | None = None,
) -> FieldSample:
    """Return the field's values at all positions, queried chunk by chunk."""
    parts = [
        field(places, with_normals, spread) for places, spread in _chunks(positions, variances)
    ]
    normals = [part.normals for part in parts if part.normals is not None]
    return FieldSample(
        densities=torch.cat([part.densities for part in parts]),
        albedo=torch.cat([part.albedo for part in parts]),
        normals=torch.cat(normals) if normals else None,
    )


def _chunks(positions: Tensor, variances: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    places = positions.split(_CHUNK)  # one empty chunk if there are no positions
    if variances is None:
        return ((part, None) for part in places)
    return zip(places, variances.split(_CHUNK), strict=True)
