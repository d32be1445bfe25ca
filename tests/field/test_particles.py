"""Fields that take turns: each step's answers are one field's own, and move it alone."""

from typing import Any

import pytest
import torch

from dreamfusion_kit.field.build import build_field
from dreamfusion_kit.field.particles import Particles
from dreamfusion_kit.recipe.schema import MipMlpSection, ParticlesSection, VoxelGridSection
from dreamfusion_kit.seeding import generator


def _points() -> torch.Tensor:
    return 0.5 * torch.randn(30, 3, generator=generator(0, "points"))


@pytest.fixture
def section(voxel_section: VoxelGridSection) -> ParticlesSection:
    return ParticlesSection(kind="particles", count=3, particle=voxel_section)


@pytest.fixture
def three(section: ParticlesSection) -> Particles:
    field = build_field(section, generator=generator(0, "field"))
    assert isinstance(field, Particles)
    return field


def test_the_first_is_the_field_that_stood_alone(
    three: Particles, voxel_section: VoxelGridSection
) -> None:
    alone = build_field(voxel_section, generator=generator(0, "field")).state_dict()
    first, *others = (particle.state_dict() for particle in three.particles)
    assert all(torch.equal(first[name], alone[name]) for name in alone)
    assert len(others) == 2
    assert not any(torch.equal(other["density"], alone["density"]) for other in others)
    assert not torch.equal(others[0]["density"], others[1]["density"])


@pytest.mark.parametrize(("step", "turn"), [(0, 1), (1, 2), (2, 0), (3, 1), (299, 0)])
def test_the_step_alone_says_whose_turn_it_is(three: Particles, step: int, turn: int) -> None:
    three.set_step(1234)
    three.set_step(step)
    own = three.particles[turn]
    found, expected = three(_points(), True), own(_points(), True)
    assert torch.equal(found.densities, expected.densities)
    assert torch.equal(found.albedo, expected.albedo)
    assert found.normals is not None
    assert torch.equal(found.normals, expected.normals)
    assert torch.equal(three.densities(_points()), own.densities(_points()))
    assert torch.equal(three.smoothness(), own.smoothness())


def test_the_envelope_is_the_highest_of_all(three: Particles) -> None:
    expected = torch.tensor(
        [
            max(float(p.densities(point[None]).detach()) for p in three.particles)
            for point in _points().unbind()
        ]
    )
    torch.testing.assert_close(three.envelope(_points()).detach(), expected)
    assert not torch.equal(three.densities(_points()), three.envelope(_points()))


def test_a_step_moves_one_field_and_no_others_moments(three: Particles) -> None:
    groups: list[Any] = [dict(group) for group in three.parameter_groups()]
    assert [group["name"] for group in groups][:3] == ["0/density", "0/albedo", "1/density"]
    optimizer = torch.optim.Adam(groups, fused=True)
    for step in range(5):
        before = [particle.state_dict()["density"].clone() for particle in three.particles]
        three.set_step(step)
        optimizer.zero_grad()
        sample = three(_points(), False)
        (sample.densities.sum() + sample.albedo.sum()).backward()
        optimizer.step()
        after = [particle.state_dict()["density"] for particle in three.particles]
        moved = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert moved == [index == (step + 1) % 3 for index in range(3)]
    counts = [int(optimizer.state[group["params"][0]]["step"]) for group in groups]
    assert counts == [1, 1, 2, 2, 2, 2]


def test_every_field_follows_its_own_schedules(mip_section: MipMlpSection) -> None:
    section = ParticlesSection(kind="particles", count=2, particle=mip_section)
    field = build_field(section, generator=generator(0, "field"))
    field.set_step(5000)
    covariances = [value for name, value in field.state_dict().items() if "covariance" in name]
    assert [float(value) for value in covariances] == pytest.approx([0.002, 0.002])
