"""The paper's field: against finite differences, and a network computed by hand."""

import copy

import pytest
import torch

from dreamfusion_kit.field.mip_mlp import MipMlp
from dreamfusion_kit.recipe.schema import ConeBiasSection, MipMlpSection
from dreamfusion_kit.seeding import generator


def _field(section: MipMlpSection) -> MipMlp:
    """Return a field in double precision, for differences that mean something."""
    return MipMlp(section, generator=generator(0, "field")).double()


def _inside(count: int) -> torch.Tensor:
    noise = torch.randn(count, 3, generator=generator(1, "field"), dtype=torch.float64)
    return 0.8 * torch.nn.functional.normalize(noise, dim=-1)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.05), (1000, 0.0404), (2500, 0.026), (5000, 0.002), (15_000, 0.002)]
)
def test_the_covariance_follows_the_step(
    mip_section: MipMlpSection, step: int, expected: float
) -> None:
    field = _field(mip_section)
    field.set_step(15_000)
    field.set_step(step)  # a function of the step alone, whatever came before
    assert float(field.covariance) == pytest.approx(expected, rel=1e-6)


def test_the_network_is_the_one_of_the_formulas(mip_section: MipMlpSection) -> None:
    """By hand, from the encoding's definition to the raw numbers."""
    field, position = _field(mip_section), torch.tensor([[0.3, -0.2, 0.7]], dtype=torch.float64)
    weights = {name: value.detach() for name, value in field.named_parameters()}

    def linear(name: str, values: torch.Tensor) -> torch.Tensor:
        return weights[f"{name}.weight"] @ values + weights[f"{name}.bias"]

    def norm(values: torch.Tensor) -> torch.Tensor:
        return (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()

    levels = [(2**level * position[0], 4**level * 0.05) for level in range(4)]
    features = [(x.sin() * torch.tensor(-v / 2).exp()) for x, v in levels]
    features += [(x.cos() * torch.tensor(-v / 2).exp()) for x, v in levels]
    hidden = linear("network.first", torch.cat(features))
    for block in (0, 1):
        inner = linear(f"network.blocks.{block}.inner", norm(hidden))
        hidden = hidden + linear(f"network.blocks.{block}.outer", inner * inner.sigmoid())
    raw = linear("network.last", norm(hidden))

    found = field(position, with_normals=False)
    blob = 5 * torch.exp(-position.square().sum() / (2 * 0.2**2))
    torch.testing.assert_close(found.densities[0], (raw[0] + blob - 1).exp())
    torch.testing.assert_close(found.albedo[0], raw[1:].sigmoid())


def test_outside_of_the_ball_is_nothing(mip_section: MipMlpSection) -> None:
    places = torch.tensor([[0, 0, 1.39], [0, 0, 1.41], [1.3, 1.3, 1.3]], dtype=torch.float64)
    inside, *outside = _field(mip_section).densities(places).tolist()
    assert inside > 0
    assert outside == [0, 0]


@pytest.mark.parametrize("with_normals", [False, True])
def test_densities_are_those_of_forward(mip_section: MipMlpSection, with_normals: bool) -> None:
    field, positions = _field(mip_section), _inside(50)
    sample = field(positions, with_normals)
    torch.testing.assert_close(field.densities(positions), sample.densities)
    assert ((sample.albedo >= 0) & (sample.albedo <= 1)).all()


@pytest.mark.parametrize("stage", ["pre", "post"])
def test_normals_are_those_of_the_density(mip_section: MipMlpSection, stage: str) -> None:
    """Against central differences of the density itself, exponential and all."""
    bias = mip_section.density_bias.model_copy(update={"stage": stage})
    field = _field(mip_section.model_copy(update={"density_bias": bias}))
    positions, step = 0.5 * _inside(40), 1e-5
    shifts = step * torch.eye(3, dtype=torch.float64)
    slopes = torch.stack(
        [(field.densities(positions + s) - field.densities(positions - s)) for s in shifts], dim=-1
    )
    expected = -torch.nn.functional.normalize(slopes, dim=-1)
    normals = field(positions, with_normals=True).normals
    torch.testing.assert_close(normals, expected.detach(), atol=1e-5, rtol=0)


def test_a_loss_on_normals_has_the_right_gradient(mip_section: MipMlpSection) -> None:
    """Second derivatives: each parameter's slope against a difference of two losses."""
    field, positions = _field(mip_section), _inside(12)

    def loss(candidate: MipMlp) -> torch.Tensor:
        normals = candidate(positions, with_normals=True).normals
        assert normals is not None
        return (normals * positions.sin()).sum()

    loss(field).backward()
    step = 1e-6
    for name, parameter in field.named_parameters():
        if name in ("network.norm.bias", "network.last.bias"):
            continue  # they move every density alike, and no normal: no graph reaches them
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=generator(2, name), dtype=torch.float64)
        above, below = copy.deepcopy(field), copy.deepcopy(field)
        with torch.no_grad():
            above.get_parameter(name).add_(step * direction)
            below.get_parameter(name).sub_(step * direction)
            expected = (loss(above) - loss(below)) / (2 * step)
        found = (parameter.grad * direction).sum()
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_normals_without_gradients_keep_no_graph(mip_section: MipMlpSection) -> None:
    field, positions = _field(mip_section), _inside(10)
    with torch.no_grad():
        sample = field(positions, with_normals=True)
    expected = field(positions, with_normals=True)
    for found, other in (
        (sample.normals, expected.normals),
        (sample.densities, expected.densities),
        (sample.albedo, expected.albedo),
    ):
        assert found is not None
        assert not found.requires_grad
        torch.testing.assert_close(found, other, check_stride=False)
    assert not positions.requires_grad


def test_the_gradient_of_an_exponential_density_is_the_density(mip_section: MipMlpSection) -> None:
    """As d tau / d raw = tau, so is the slope by the last layer's bias on the density."""
    field, positions = _field(mip_section), _inside(10)
    densities = field.densities(positions)
    (slope,) = torch.autograd.grad(densities.sum(), field.network.last.bias)
    torch.testing.assert_close(slope[0], densities.detach().sum())
    assert (slope[1:] == 0).all()


def test_a_cones_tip_has_a_finite_gradient(mip_section: MipMlpSection) -> None:
    cone = ConeBiasSection(kind="cone", stage="pre", scale=10.0, radius=0.5)
    field = _field(mip_section.model_copy(update={"density_bias": cone}))
    sample = field(torch.zeros(1, 3, dtype=torch.float64), with_normals=True)
    assert sample.normals is not None
    (sample.densities.sum() + sample.normals.sum()).backward()
    grads = [p.grad for p in field.parameters() if p.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


def test_smoothness_is_zero(mip_section: MipMlpSection) -> None:
    assert float(_field(mip_section).smoothness()) == 0


def test_every_parameter_is_in_the_one_group(mip_section: MipMlpSection) -> None:
    field = _field(mip_section)
    (group,) = field.parameter_groups()
    assert (group["name"], group["lr"]) == ("network", 1e-4)
    assert [id(p) for p in group["params"]] == [id(p) for p in field.parameters()]


def test_the_start_touches_no_global_generator(mip_section: MipMlpSection) -> None:
    before = torch.get_rng_state()
    first, again = _field(mip_section), _field(mip_section)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("with_normals", [False, True])
def test_no_positions(mip_section: MipMlpSection, with_normals: bool) -> None:
    sample = _field(mip_section)(torch.zeros(0, 3, dtype=torch.float64), with_normals)
    sample.densities.sum().backward()
    assert (sample.normals is not None) == with_normals


def test_contracted_space_goes_on_and_is_the_same_inside(mip_section: MipMlpSection) -> None:
    ball = _field(mip_section)
    scene = _field(mip_section.model_copy(update={"space": "contracted"}))
    inside = _inside(20)
    torch.testing.assert_close(scene.densities(inside), ball.densities(inside))
    places = torch.tensor([[0, 0, 3.0], [0, 2, 1], [-1e6, 0, 0]], dtype=torch.float64)
    assert (scene.densities(places) > 0).all()
    # Far out all points of a direction come together: 2 R (2 - 1e-6) against 2 R (2 - 1e-9).
    far = torch.tensor([[1e6, 0, 0], [1e9, 0, 0]], dtype=torch.float64)
    first, second = scene.densities(far).tolist()
    assert first == pytest.approx(second, rel=1e-4)


def test_normals_of_contracted_space_are_those_of_its_density(mip_section: MipMlpSection) -> None:
    """Beyond the radius too, where the contraction bends them."""
    field = _field(mip_section.model_copy(update={"space": "contracted"}))
    positions, step = 3.0 * _inside(20), 1e-5
    shifts = step * torch.eye(3, dtype=torch.float64)
    slopes = torch.stack(
        [(field.densities(positions + s) - field.densities(positions - s)) for s in shifts], dim=-1
    )
    expected = -torch.nn.functional.normalize(slopes, dim=-1)
    normals = field(positions, with_normals=True).normals
    torch.testing.assert_close(normals, expected.detach(), atol=1e-4, rtol=0)


def test_variances_are_added_to_the_covariance(mip_section: MipMlpSection) -> None:
    """Equal on all axes, they are what a larger lambda is; on one axis they fade that axis."""
    field, positions = _field(mip_section), _inside(20)
    wide = _field(mip_section.model_copy(update={"covariance": 0.07}))
    spread = torch.full_like(positions, 0.02)
    found, expected = field(positions, True, spread), wide(positions, True)
    torch.testing.assert_close(found.densities, expected.densities, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.normals, expected.normals, rtol=1e-6, atol=1e-8)
    blind = torch.tensor([1e6, 0, 0], dtype=torch.float64).expand_as(positions)
    moved = positions + torch.tensor([0.1, 0, 0], dtype=torch.float64)
    albedo = field(positions, False, blind).albedo
    torch.testing.assert_close(field(moved, False, blind).albedo, albedo)
    assert not torch.allclose(field(moved, False).albedo, field(positions, False).albedo)
