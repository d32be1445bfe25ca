"""The proposal network: the field's own encoding and blob, another network, density alone."""

import pytest
import torch

from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.field.mip_mlp import MipMlp
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.recipe.schema import (
    LinearSchedule,
    MipMlpSection,
    OccupancySection,
    ProposalSection,
    RendererSection,
    UnboundedSection,
)
from dreamfusion_kit.seeding import generator

SECTION = ProposalSection(
    num_blocks=1,
    hidden_width=4,
    num_samples=5,
    weight_exponent=LinearSchedule(start=0.0, end=1.0, from_step=0, to_step=10),
    loss_lambda=1.0,
    learning_rate=0.01,
)


def _renderer(beyond: UnboundedSection | None) -> RendererSection:
    occupancy = OccupancySection(
        resolution=4, update_every_steps=1, warmup_steps=0, decay=0.9, density_threshold=0.0
    )
    return RendererSection(
        num_samples=4, jitter=False, near=0.0, footprint="cone", beyond=beyond, occupancy=occupancy
    )


@pytest.fixture
def contracted(mip_section: MipMlpSection) -> MipMlpSection:
    return mip_section.model_copy(update={"space": "contracted"})


@pytest.fixture
def proposal(contracted: MipMlpSection) -> ProposalMlp:
    return ProposalMlp(SECTION, contracted, generator=generator(0, "proposal"))


def _points() -> torch.Tensor:
    """Return positions in the blob, half of them, and far from it."""
    spread = torch.tensor([0.2, 3.0]).repeat(20)[:, None]
    return spread * torch.randn(40, 3, generator=generator(0, "points"))


def test_without_a_network_it_is_the_field_without_one(
    contracted: MipMlpSection, proposal: ProposalMlp
) -> None:
    """Last layers of 0 leave blob, offset and activation, which both have in common."""
    field = build_field(contracted, generator=generator(0, "field"))
    assert isinstance(field, MipMlp)
    for network in (field.network, proposal.network):
        torch.nn.init.zeros_(network.last.weight)
    variances = torch.full((40, 3), 0.1)
    expected = field(_points(), False, variances).densities
    torch.testing.assert_close(proposal(_points(), variances), expected)
    assert expected.std() > 0


def test_variances_blur_it_as_they_blur_the_field(proposal: ProposalMlp) -> None:
    """Far from the blob, and so wide that every feature is 0, all places are alike."""
    far = 2.5 * torch.nn.functional.normalize(_points(), dim=-1)
    sharp = proposal(far, torch.zeros(40, 3))
    blurred = proposal(far, torch.full((40, 3), 1e4))
    assert sharp.std() > 1e-4
    assert blurred.std() < 1e-6


def test_what_depends_on_the_step(proposal: ProposalMlp) -> None:
    assert proposal.exponent == 0
    proposal.set_step(5000)
    assert (proposal.exponent, float(proposal.covariance)) == (1, pytest.approx(0.002))
    proposal.set_step(5)
    assert proposal.exponent == pytest.approx(0.5)


def test_every_parameter_is_in_the_one_group_and_gets_a_gradient(proposal: ProposalMlp) -> None:
    (group,) = proposal.parameter_groups()
    assert (group["name"], group["lr"]) == ("proposal", 0.01)
    assert {id(p) for p in group["params"]} == {id(p) for p in proposal.parameters()}
    proposal(_points(), None).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in group["params"])


def test_it_is_built_where_the_recipe_has_one(mip_section: MipMlpSection) -> None:
    random = generator(0, "proposal")
    without = UnboundedSection(num_samples=2, far=9.0, proposal=None)
    assert build_proposal(_renderer(None), mip_section, generator=random) is None
    assert build_proposal(_renderer(without), mip_section, generator=random) is None
    with_one = UnboundedSection(num_samples=2, far=9.0, proposal=SECTION)
    found = build_proposal(_renderer(with_one), mip_section, generator=random)
    assert found is not None
    assert found.network.last.out_features == 1
    assert found.network.first.out_features == 4
    assert len(found.network.blocks) == 1
