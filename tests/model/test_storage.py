"""Files of a model's parts: equal bytes, equal answers, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.model.background import PlainBackground, build_background
from dreamfusion_kit.model.storage import (
    load_background,
    load_field,
    load_proposal,
    save_background,
    save_field,
    save_proposal,
)
from dreamfusion_kit.recipe.schema import (
    ConstantBackgroundSection,
    FieldSection,
    HashGridSection,
    MipMlpSection,
    MlpBackgroundSection,
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
    save_field(tmp_path, field, section)
    loaded = load_field(tmp_path, section)
    positions = torch.rand(50, 3, generator=generator(1, "field")) - 0.5
    expected, found = field(positions, True), loaded(positions, True)
    assert torch.equal(found.densities, expected.densities)
    assert torch.equal(found.albedo, expected.albedo)
    assert torch.equal(found.normals, expected.normals)


def test_equal_fields_give_equal_bytes(tmp_path: Path, section: FieldSection) -> None:
    for name in ("a", "b"):
        field = build_field(section, generator=generator(3, "field"))
        (tmp_path / name).mkdir()
        save_field(tmp_path / name, field, section)
    first, second = (tmp_path / name / "field.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_another_section_is_refused(tmp_path: Path, voxel_section: VoxelGridSection) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    save_field(tmp_path, field, voxel_section)
    other = voxel_section.model_copy(update={"bounding_radius": 1.0})
    with pytest.raises(CheckpointError, match=r"expected .*bounding_radius"):
        load_field(tmp_path, other)


def test_a_damaged_or_missing_file_is_refused(
    tmp_path: Path, voxel_section: VoxelGridSection
) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    path = tmp_path / "field.safetensors"
    save_field(tmp_path, field, voxel_section)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(tmp_path, voxel_section)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_field(tmp_path / "absent", voxel_section)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_in_one_line(
    tmp_path: Path, section: FieldSection, value: float
) -> None:
    field = build_field(section, generator=generator(0, "field"))
    name, parameter = next(iter(field.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[3:5] = value
    save_field(tmp_path, field, section)
    with pytest.raises(CheckpointError) as refusal:
        load_field(tmp_path, section)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'field.safetensors'}: 2 of {parameter.numel()} numbers")
    assert name in message
    assert "\n" not in message


def test_tensors_of_another_shape_are_refused_in_one_line(
    tmp_path: Path, voxel_section: VoxelGridSection
) -> None:
    field = build_field(voxel_section, generator=generator(0, "field"))
    save_field(tmp_path, field, voxel_section)
    path = tmp_path / "field.safetensors"
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file({name: t[:1] for name, t in field.state_dict().items()}, path, metadata=header)
    with pytest.raises(CheckpointError, match="do not fit the recipe") as refusal:
        load_field(tmp_path, voxel_section)
    assert "\n" not in str(refusal.value)


def test_of_several_fields_each_is_a_file_and_the_first_is_loaded(
    tmp_path: Path, voxel_section: VoxelGridSection
) -> None:
    section = ParticlesSection(kind="particles", count=3, particle=voxel_section)
    field = build_field(section, generator=generator(3, "field"))
    save_field(tmp_path, field, section)
    names = ["field.safetensors", "field_1.safetensors", "field_2.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    alone = build_field(voxel_section, generator=generator(3, "field"))
    (tmp_path / "alone").mkdir()
    save_field(tmp_path / "alone", alone, voxel_section)
    first, second, _ = (tmp_path / name for name in names)
    assert first.read_bytes() == (tmp_path / "alone" / names[0]).read_bytes()
    loaded = load_field(tmp_path, section).state_dict()
    assert torch.equal(loaded["density"], alone.state_dict()["density"])
    assert torch.equal(load_file(second)["albedo"], field.state_dict()["fields.1.albedo"])


@pytest.fixture
def mlp_background() -> MlpBackgroundSection:
    return MlpBackgroundSection(
        kind="mlp", num_frequencies=2, hidden_width=4, num_hidden_layers=1, learning_rate=0.01
    )


def test_a_learned_background_is_kept(tmp_path: Path, mlp_background: MlpBackgroundSection) -> None:
    background = build_background(mlp_background, generator=generator(3, "background_mlp"))
    save_background(tmp_path, background)
    found = load_background(tmp_path, mlp_background).state_dict()
    for name, tensor in background.state_dict().items():
        assert torch.equal(found[name], tensor)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_background(tmp_path / "absent", mlp_background)
    wider = mlp_background.model_copy(update={"hidden_width": 5})
    with pytest.raises(CheckpointError, match="do not fit"):
        load_background(tmp_path, wider)


def test_a_plain_background_has_no_file(tmp_path: Path) -> None:
    section = ConstantBackgroundSection(kind="constant", color=(0.1, 0.2, 0.3))
    save_background(tmp_path, build_background(section, generator=generator(0, "unused")))
    assert list(tmp_path.iterdir()) == []
    assert isinstance(load_background(tmp_path, section), PlainBackground)


def test_a_proposal_network_is_kept_and_one_of_another_size_refused(
    tmp_path: Path, mip_section: MipMlpSection
) -> None:
    section = {
        "num_blocks": 1,
        "hidden_width": 4,
        "num_samples": 5,
        "weight_exponent": 1.0,
        "loss_lambda": 1.0,
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

    proposal = build_proposal(renderer(), mip_section, generator=generator(3, "proposal"))
    assert proposal is not None
    save_proposal(tmp_path, proposal, mip_section)
    assert [path.name for path in tmp_path.iterdir()] == ["proposal.safetensors"]
    loaded = load_proposal(tmp_path, renderer(), mip_section)
    assert loaded is not None
    positions = torch.rand(9, 3, generator=generator(0, "points"))
    assert torch.equal(loaded(positions, None), proposal(positions, None))
    assert load_proposal(tmp_path / "absent", renderer(none=True), mip_section) is None
    with pytest.raises(CheckpointError, match="do not fit"):
        load_proposal(tmp_path, renderer(hidden_width=5), mip_section)
