import numpy as np
import pytest
import torch

from dreamfusion_kit.field.voxel_grid import VoxelGrid
from dreamfusion_kit.recipe.schema import VoxelGridSection
from dreamfusion_kit.seeding import generator


def _inside(count: int, radius: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    lengths = torch.linspace(0, 1, count, dtype=dtype)[:, None]
    return radius * lengths * torch.nn.functional.normalize(noise, dim=-1)


def _grid(section: VoxelGridSection, *, std: float = 1.0) -> VoxelGrid:
    """Return a grid in float64 with large random values."""
    grid = VoxelGrid(section, generator=generator(0, "field")).double()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.normal_(0, std, generator=torch.Generator().manual_seed(2))
    return grid


def _grid_sample(grid: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Read `x y z channels` at positions in [-1, 1]^3 by torch's own interpolation."""
    volume = grid.permute(3, 2, 1, 0)[None]
    found = torch.nn.functional.grid_sample(
        volume, unit[None, None, None], align_corners=True, padding_mode="border"
    )
    return found[0, :, 0, 0].T


def test_density_and_albedo_are_those_of_grid_sample(voxel_section: VoxelGridSection) -> None:
    section = voxel_section.model_copy(update={"resolution": 7})
    grid, positions = _grid(section), _inside(300, 1.39, torch.float64)
    sample = grid(positions, with_normals=False)
    raw = _grid_sample(grid.density[..., None], positions / 1.4)[:, 0]
    blob = 5 * torch.exp(-positions.square().sum(dim=-1) / (2 * 0.2**2))
    expected = torch.nn.functional.softplus(raw + blob - 5)
    torch.testing.assert_close(sample.densities, expected)
    albedo = _grid_sample(grid.albedo, positions / 1.4).sigmoid()
    torch.testing.assert_close(sample.albedo, albedo)
    assert sample.normals is None


def test_gradients_are_those_of_grid_sample(voxel_section: VoxelGridSection) -> None:
    grid, positions = _grid(voxel_section), _inside(300, 1.39, torch.float64)
    weights = torch.randn(300, 3, generator=torch.Generator().manual_seed(3)).double()
    (grid(positions, with_normals=False).albedo * weights).sum().backward()
    found = grid.albedo.grad
    reference = grid.albedo.detach().clone().requires_grad_()
    (_grid_sample(reference, positions / 1.4).sigmoid() * weights).sum().backward()
    torch.testing.assert_close(found, reference.grad)


def test_densities_are_those_of_forward(voxel_section: VoxelGridSection) -> None:
    grid, positions = _grid(voxel_section), _inside(100, 1.39, torch.float64)
    expected = grid(positions, with_normals=True).densities
    torch.testing.assert_close(grid.densities(positions), expected, atol=0, rtol=0)


def test_outside_the_ball_is_empty_even_in_the_cubes_corners(
    voxel_section: VoxelGridSection,
) -> None:
    grid = _grid(voxel_section)
    outside = torch.tensor([[1.39, 1.39, 1.39], [0, 0, 1.41], [9, 0, 0]], dtype=torch.float64)
    assert (grid.densities(outside) == 0).all()
    assert torch.isfinite(grid(outside, with_normals=True).albedo).all()


def test_a_fresh_grid_is_the_blob_and_nothing_at_the_rim(voxel_section: VoxelGridSection) -> None:
    grid = VoxelGrid(voxel_section, generator=generator(0, "field"))
    centre, rim = torch.zeros(1, 3), torch.tensor([[0, 1.39, 0]])
    assert float(grid.densities(centre).detach()) == pytest.approx(0.69, abs=0.05)
    assert float(grid.densities(rim).detach()) < 0.01


def test_normals_of_the_blob_point_outwards(voxel_section: VoxelGridSection) -> None:
    section = voxel_section.model_copy(update={"resolution": 65})
    grid = _grid(section, std=0.0)
    positions = _inside(200, 0.6, torch.float64)[40:]
    normals = grid(positions, with_normals=True).normals
    assert normals is not None
    cosine = (normals * torch.nn.functional.normalize(positions, dim=-1)).sum(dim=-1)
    assert float(cosine.detach().min()) > 0.999


def test_normals_of_a_linear_density_are_exact_up_to_the_faces(
    voxel_section: VoxelGridSection,
) -> None:
    bias = voxel_section.density_bias.model_copy(update={"scale": 0.0})
    grid = _grid(voxel_section.model_copy(update={"density_bias": bias}))
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    axis = torch.linspace(-1.4, 1.4, 9, dtype=torch.float64)
    vertices = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    with torch.no_grad():
        grid.density.copy_(vertices @ slope)
    normals = grid(_inside(100, 1.4, torch.float64), with_normals=True).normals
    assert normals is not None
    torch.testing.assert_close(normals, (-slope / slope.norm()).expand(100, 3))


@pytest.mark.parametrize("stage", ["pre", "post"])
def test_everything_is_differentiable(voxel_section: VoxelGridSection, stage: str) -> None:
    bias = voxel_section.density_bias.model_copy(update={"stage": stage})
    changes = {"resolution": 4, "density_bias": bias, "density_offset": 0.0}
    grid, positions = _grid(voxel_section.model_copy(update=changes)), _inside(6, 1.2).double()

    def outputs(density: torch.Tensor, albedo: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parameters = {"density": density, "albedo": albedo}
        sample = torch.func.functional_call(grid, parameters, (positions, True))
        return sample.densities, sample.albedo, sample.normals

    assert torch.autograd.gradcheck(outputs, (grid.density, grid.albedo))


def test_roughness_is_the_mean_squared_difference(voxel_section: VoxelGridSection) -> None:
    grid = _grid(voxel_section)
    density, albedo = grid.density.detach().numpy(), grid.albedo.detach().numpy()
    expected = 0.0
    for values in (density, albedo):
        for axis in range(3):
            difference = values.take(range(1, 9), axis) - values.take(range(8), axis)
            expected += (difference**2).mean()
    assert float(grid.smoothness().detach()) == pytest.approx(expected)
    with torch.no_grad():
        grid.density.fill_(3)
        grid.albedo.fill_(-1)
    assert float(grid.smoothness().detach()) == 0


def test_the_gradient_of_roughness_pulls_each_vertex_towards_its_neighbors(
    voxel_section: VoxelGridSection,
) -> None:
    grid = _grid(voxel_section)
    (3 * grid.smoothness()).backward()
    for parameter in (grid.density, grid.albedo):
        values = parameter.detach().numpy().astype(np.float64)
        expected = np.zeros_like(values)
        for axis in range(3):
            difference = np.moveaxis(np.diff(values, axis=axis), axis, 0)
            along = np.moveaxis(expected, axis, 0)  # a view
            along[:-1] -= 6 * difference / difference.size
            along[1:] += 6 * difference / difference.size
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-4, atol=1e-9)


def test_every_parameter_is_in_one_group(voxel_section: VoxelGridSection) -> None:
    grid = VoxelGrid(voxel_section, generator=generator(0, "field"))
    groups = grid.parameter_groups()
    assert {group["name"]: group["lr"] for group in groups} == {"density": 0.1, "albedo": 0.02}
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in grid.parameters()}


def test_the_start_depends_on_the_generator_alone(voxel_section: VoxelGridSection) -> None:
    torch.manual_seed(0)
    first = VoxelGrid(voxel_section, generator=generator(0, "field"))
    torch.manual_seed(1)
    again = VoxelGrid(voxel_section, generator=generator(0, "field"))
    other = VoxelGrid(voxel_section, generator=generator(1, "field"))
    assert torch.equal(first.density, again.density)
    assert not torch.equal(first.density, other.density)


@pytest.mark.parametrize("albedo", [0.2, 0.5, 0.8])
def test_everything_starts_in_one_grey(voxel_section: VoxelGridSection, albedo: float) -> None:
    """The noise of 0.01 on raw values is at most a quarter of that on albedo."""
    section = voxel_section.model_copy(update={"initial_albedo": albedo})
    grid = VoxelGrid(section, generator=generator(0, "field"))
    found = grid(_inside(300, 1.39), with_normals=False).albedo.detach()
    assert (found - albedo).abs().max() < 0.0125  # five deviations


def test_no_positions(voxel_section: VoxelGridSection) -> None:
    grid = VoxelGrid(voxel_section, generator=generator(0, "field"))
    sample = grid(torch.zeros(0, 3), with_normals=True)
    assert sample.normals is not None
    (sample.densities.sum() + sample.albedo.sum() + sample.normals.sum()).backward()
    assert grid.density.grad is not None
    assert (grid.density.grad == 0).all()
