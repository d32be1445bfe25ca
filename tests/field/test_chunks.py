"""A field queried in chunks gives the same values as when queried at once."""

from typing import Any

import pytest
import torch

from dreamfusion_kit.field import chunks
from dreamfusion_kit.field.build import build_field
from dreamfusion_kit.seeding import generator


@pytest.mark.parametrize("kind", ["voxel_section", "hash_section", "mip_section"])
@pytest.mark.parametrize("count", [0, 7, 8, 30])
@pytest.mark.parametrize("with_normals", [False, True])
def test_chunks_say_what_the_whole_says(
    kind: str,
    count: int,
    with_normals: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 8)
    section: Any = request.getfixturevalue(kind)
    field = build_field(section, generator=generator(0, "field"))
    positions = torch.randn(count, 3, generator=generator(1, "field"))
    variances = torch.full((count, 3), 0.01) if kind == "mip_section" else None
    with torch.no_grad():
        whole = field(positions, with_normals, variances)
        found = chunks.sample_in_chunks(field, positions, with_normals, variances)
    torch.testing.assert_close(found.densities, whole.densities)
    torch.testing.assert_close(found.albedo, whole.albedo)
    if whole.normals is None:
        assert found.normals is None
    else:
        assert found.normals is not None
        torch.testing.assert_close(found.normals, whole.normals)
