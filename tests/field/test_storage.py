from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.build import build_field
from dreamfusion_kit.field.storage import load_field, save_field
from dreamfusion_kit.recipe.schema import FieldSection, HashGridField, MipMlpField, VoxelGridField
from dreamfusion_kit.seeding import generator


@pytest.fixture(params=["voxel_grid", "hash_grid", "mip_mlp"])
def section(
    request: pytest.FixtureRequest,
    voxel_section: VoxelGridField,
    hash_section: HashGridField,
    mip_section: MipMlpField,
) -> FieldSection:
    return next(
        section
        for section in (voxel_section, hash_section, mip_section)
        if section.kind == request.param
    )


def test_a_loaded_field_answers_alike(tmp_path: Path, section: FieldSection) -> None:
    field = build_field(section, generator=generator(3, "field"))
    field.set_step(10)
    save_field(tmp_path / "field.safetensors", field, section)
    loaded = load_field(tmp_path / "field.safetensors", section)
    positions = torch.rand(50, 3, generator=generator(1, "field")) - 0.5
    expected, found = field(positions, True), loaded(positions, True)
    assert torch.equal(found.densities, expected.densities)
    assert torch.equal(found.albedo, expected.albedo)
    assert torch.equal(found.normals, expected.normals)


def test_equal_fields_give_equal_bytes(tmp_path: Path, section: FieldSection) -> None:
    for name in ("a", "b"):
        field = build_field(section, generator=generator(3, "field"))
        save_field(tmp_path / name, field, section)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_section_is_refused(tmp_path: Path, voxel_section: VoxelGridField) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    save_field(tmp_path / "field.safetensors", field, voxel_section)
    other = voxel_section.model_copy(update={"bounding_radius": 1.0})
    with pytest.raises(CheckpointError, match=r"expected .*bounding_radius"):
        load_field(tmp_path / "field.safetensors", other)


def test_a_damaged_or_missing_file_is_refused(
    tmp_path: Path, voxel_section: VoxelGridField
) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    path = tmp_path / "field.safetensors"
    save_field(path, field, voxel_section)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(path, voxel_section)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(tmp_path / "absent.safetensors", voxel_section)
