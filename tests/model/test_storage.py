from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.field.storage import load_field, load_proposal, save_field
from dreamfusion_kit.recipe.schema import (
    FieldSection,
    HashGridSection,
    MipMlpSection,
    ParticlesSection,
    RendererSection,
    VoxelGridSection,
)
from dreamfusion_kit.seeding import generator


@pytest.fixture(params=["voxel_grid", "hash_grid", "mip_mlp"])
def section(
    request: pytest.FixtureRequest,
    voxel_section: VoxelGridSection,
    hash_section: HashGridSection,
    mip_section: MipMlpSection,
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


def test_another_section_is_refused(tmp_path: Path, voxel_section: VoxelGridSection) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    save_field(tmp_path / "field.safetensors", field, voxel_section)
    other = voxel_section.model_copy(update={"bounding_radius": 1.0})
    with pytest.raises(CheckpointError, match=r"expected .*bounding_radius"):
        load_field(tmp_path / "field.safetensors", other)


def test_a_damaged_or_missing_file_is_refused(
    tmp_path: Path, voxel_section: VoxelGridSection
) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    path = tmp_path / "field.safetensors"
    save_field(path, field, voxel_section)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(path, voxel_section)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(tmp_path / "absent.safetensors", voxel_section)


def test_of_several_fields_each_is_a_file_and_the_first_is_loaded(
    tmp_path: Path, voxel_section: VoxelGridSection
) -> None:
    section = ParticlesSection(kind="particles", count=3, particle=voxel_section)
    field = build_field(section, generator=generator(3, "field"))
    path = tmp_path / "field.safetensors"
    save_field(path, field, section)
    names = ["field.safetensors", "field_1.safetensors", "field_2.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    alone = build_field(voxel_section, generator=generator(3, "field"))
    save_field(tmp_path / "alone.safetensors", alone, voxel_section)
    assert path.read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    first = load_field(path, section).state_dict()
    assert torch.equal(first["density"], alone.state_dict()["density"])
    second = load_field(tmp_path / names[1], section).state_dict()
    assert torch.equal(second["albedo"], field.state_dict()["fields.1.albedo"])


def test_a_proposal_network_is_kept_and_one_of_another_size_refused(
    tmp_path: Path, mip_section: MipMlpSection
) -> None:
    section = {
        "num_blocks": 1,
        "hidden_width": 4,
        "num_samples": 5,
        "weight_exponent": 1.0,
        "interlevel_lambda": 1.0,
        "learning_rate": 0.01,
    }

    def renderer(**changes: Any) -> RendererSection:
        proposal = None if changes.get("none") else section | changes
        return RendererSection.model_validate(
            {
                "num_samples": 4,
                "jitter": False,
                "near": 0.0,
                "footprint": "cone",
                "beyond": {"num_samples": 2, "far": 9.0, "proposal": proposal},
                "occupancy": {
                    "resolution": 4,
                    "update_every_steps": 1,
                    "warmup_steps": 0,
                    "decay": 0.9,
                    "density_threshold": 0.0,
                },
            }
        )

    path = tmp_path / "proposal.safetensors"
    proposal = build_proposal(renderer(), mip_section, generator=generator(3, "proposal"))
    assert proposal is not None
    save_field(path, proposal, mip_section)
    loaded = load_proposal(path, renderer(), mip_section)
    assert loaded is not None
    positions = torch.rand(9, 3, generator=generator(0, "points"))
    assert torch.equal(loaded(positions, None), proposal(positions, None))
    assert load_proposal(tmp_path / "absent", renderer(none=True), mip_section) is None
    with pytest.raises(CheckpointError, match="do not fit"):
        load_proposal(path, renderer(hidden_width=5), mip_section)
