import math
from typing import Literal

import pytest
import torch

from dreamfusion_kit.field.density_bias import bias_at, density_from_raw, shape_from_raw
from dreamfusion_kit.field.normals import normals_from_gradient
from dreamfusion_kit.recipe.schema import ConeBiasSection, GaussianBiasSection, VoxelGridSection
from dreamfusion_kit.renderer.compositing import opacity_from_weights, weights_from_densities

Stage = Literal["pre", "post"]


def _gaussian(stage: Stage) -> GaussianBiasSection:
    return GaussianBiasSection(kind="gaussian", stage=stage, scale=5.0, std=0.2)


def _cone(stage: Stage) -> ConeBiasSection:
    return ConeBiasSection(kind="cone", stage=stage, scale=10.0, radius=0.5)


def _section(voxel: VoxelGridSection, **changes: object) -> VoxelGridSection:
    return voxel.model_copy(update={"density_offset": 0.0, **changes})


def _chord_depth(section: VoxelGridSection, impact: float) -> float:
    """Return the optical depth along x at distance `impact` from the centre, raw = 0."""
    half = math.sqrt(1.4**2 - impact**2)
    edges = torch.linspace(-half, half, 2049, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    squared = middles.square() + impact**2
    densities = density_from_raw(section, torch.zeros_like(middles), squared)
    return float((densities * edges.diff()).sum())


@pytest.mark.parametrize(
    ("impact", "depth", "opacity"),
    [(0.0, 2.5066282746, 0.9184572841), (0.2, 1.5203469011, 0.7813639713),
     (0.4, 0.3392352475, 0.2876851409)],
)  # fmt: skip
def test_optical_depth_of_the_blob_alone(impact: float, depth: float, opacity: float) -> None:
    x = torch.linspace(-1.4, 1.4, 257, dtype=torch.float64)
    middles = (x[1:] + x[:-1]) / 2
    found = float((bias_at(_gaussian("post"), middles.square() + impact**2) * x.diff()).sum())
    assert found == pytest.approx(depth, abs=1e-4)
    assert -math.expm1(-found) == pytest.approx(opacity, abs=1e-4)


@pytest.mark.parametrize(("stage", "centre"), [("post", 6.0), ("pre", 148.4131591)])
def test_the_stage_decides_the_density_at_the_centre(
    voxel_section: VoxelGridSection, stage: Stage, centre: float
) -> None:
    section = _section(voxel_section, density_activation="exp", density_bias=_gaussian(stage))
    zero = torch.zeros(1, dtype=torch.float64)
    assert float(density_from_raw(section, zero, zero)) == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize(("stage", "depth"), [("post", 5.3066), ("pre", 38.8555)])
def test_the_stage_decides_the_optical_depth(
    voxel_section: VoxelGridSection, stage: Stage, depth: float
) -> None:
    section = _section(voxel_section, density_activation="exp", density_bias=_gaussian(stage))
    assert _chord_depth(section, 0.0) == pytest.approx(depth, abs=1e-3)


@pytest.mark.parametrize(
    ("radius", "density"),
    [(0.0, 10.0000454), (0.25, 5.0067153), (0.5, math.log(2)), (1.0, 4.5399e-5)],
)
def test_magic3d_cone_through_softplus(
    voxel_section: VoxelGridSection, radius: float, density: float
) -> None:
    section = _section(voxel_section, density_bias=_cone("pre"))
    squared = torch.tensor([radius**2], dtype=torch.float64)
    found = float(density_from_raw(section, torch.zeros_like(squared), squared))
    assert found == pytest.approx(density, rel=1e-5)


def test_density_is_never_negative_and_zero_outside(voxel_section: VoxelGridSection) -> None:
    squared = torch.linspace(0, 2.5, 500)
    for bias in (_cone("post"), _cone("pre"), _gaussian("post")):
        section = _section(voxel_section, density_bias=bias)
        densities = density_from_raw(section, torch.zeros_like(squared), squared)
        assert (densities >= 0).all()
        assert (densities[squared > 1.4**2] == 0).all()
    assert density_from_raw(section, torch.zeros(1), torch.tensor([1.4**2 - 1e-3])) > 0


def test_the_offset_moves_the_raw_density(voxel_section: VoxelGridSection) -> None:
    raw, squared = torch.linspace(-3, 3, 7), torch.linspace(0, 1, 7)
    moved = _section(voxel_section, density_offset=-2.0)
    plain = _section(voxel_section)
    torch.testing.assert_close(
        density_from_raw(moved, raw, squared), density_from_raw(plain, raw - 2, squared)
    )


@pytest.mark.parametrize("activation", ["exp", "softplus"])
@pytest.mark.parametrize("bias", [_gaussian("pre"), _gaussian("post"), _cone("pre")])
def test_shape_and_density_fall_in_the_same_direction(
    voxel_section: VoxelGridSection, activation: str, bias: GaussianBiasSection | ConeBiasSection
) -> None:
    section = _section(
        voxel_section, density_activation=activation, density_bias=bias, density_offset=-1.0
    )
    generator = torch.Generator().manual_seed(0)
    positions = 0.6 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    positions = positions[positions.norm(dim=-1) < 1.3].requires_grad_()
    raw, squared = (3 * positions).sin().sum(dim=-1), positions.square().sum(dim=-1)
    gradients = [
        torch.autograd.grad(function(section, raw, squared).sum(), positions, retain_graph=True)[0]
        for function in (shape_from_raw, density_from_raw)
    ]
    cosine = torch.cosine_similarity(*gradients)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize("stage", ["pre", "post"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exp_is_torch_s_own_to_the_bit_below_its_largest_power(
    voxel_section: VoxelGridSection, stage: Stage, dtype: torch.dtype
) -> None:
    bias = _gaussian(stage).model_copy(update={"scale": 0.0})
    section = _section(voxel_section, density_activation="exp", density_bias=bias)
    raw = torch.linspace(-120, 88.7, 4001, dtype=dtype).requires_grad_()
    density = density_from_raw(section, raw, torch.zeros_like(raw))
    assert torch.equal(density, raw.detach().exp())
    (slope,) = torch.autograd.grad(density, raw, torch.full_like(raw, 0.3))
    assert torch.equal(slope, 0.3 * raw.detach().exp())


@pytest.mark.parametrize("stage", ["pre", "post"])
@pytest.mark.parametrize("raw_density", [88.0, 88.8, 1e3, 1e30])
def test_an_opaque_density_has_an_opacity_of_1_and_a_slope_of_0(
    voxel_section: VoxelGridSection, stage: Stage, raw_density: float
) -> None:
    """Inside the ball and outside, first along its ray or behind another sample."""
    section = _section(voxel_section, density_activation="exp", density_bias=_gaussian(stage))
    raw = torch.tensor([[0.1, raw_density, -2.0, raw_density]], requires_grad=True)
    squared_radius = torch.tensor([[1.9, 0.5, 0.1, 2.5]])  # the last one lies outside
    density = density_from_raw(section, raw, squared_radius)
    weights = weights_from_densities(density, torch.full_like(raw, 0.05))
    opacity = opacity_from_weights(weights)
    (slope,) = torch.autograd.grad(weights[0, :2].sum() + 2 * opacity.sum(), raw)
    assert float(opacity.detach()) == 1.0
    assert slope[0, 1] == 0
    assert slope[0, 3] == 0
    assert torch.isfinite(slope).all()


def test_normals_of_an_opaque_density_are_finite(voxel_section: VoxelGridSection) -> None:
    section = _section(voxel_section, density_activation="exp", density_bias=_gaussian("post"))
    raw = torch.tensor([1.0, 30.0, 60.0, 90.0, 1e4], requires_grad=True)
    shape = shape_from_raw(section, raw, torch.full_like(raw, 0.2))
    gradient = (shape.diff() / 1e-2)[:, None].expand(-1, 3)
    normals = normals_from_gradient(gradient)
    assert torch.isfinite(normals).all()
    assert torch.isfinite(torch.autograd.grad(normals.sum(), raw)[0]).all()
