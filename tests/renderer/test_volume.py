import math
from typing import Any

import pytest
import torch

from dreamfusion_kit.recipe.schema import OccupancySection, RendererSection, UnboundedSection
from dreamfusion_kit.records import FieldSample, Lighting, Rays, RenderOutput, SampleField
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_penalties import distortion, orientation
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.renderer.volume import render
from dreamfusion_kit.seeding import generator

RADIUS = 1.0
STD = 0.15  # of the blob
OCCUPANCY = OccupancySection(
    resolution=16, update_every_steps=1, warmup_steps=0, decay=0.9, density_threshold=0.01
)
SECTION = RendererSection(
    num_samples=64, jitter=True, footprint="point", near=0.0, beyond=None, occupancy=OCCUPANCY
)


class Fog:
    """Constant density; albedo and normal are the same everywhere."""

    def __init__(self, density: float, normal: tuple[float, float, float] = (0, 0, 1)) -> None:
        self.density = torch.tensor(density, dtype=torch.float64, requires_grad=True)
        self.albedo = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
        self.normal = torch.tensor(normal, dtype=torch.float64, requires_grad=True)
        self.num_samples: list[int] = []
        self.asked_for_normals: list[bool] = []

    def __call__(
        self, positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        count = len(positions)
        self.num_samples.append(count)
        self.asked_for_normals.append(with_normals)
        assert (positions.norm(dim=-1) <= RADIUS + 1e-9).all()
        return FieldSample(
            self.density.expand(count),
            self.albedo.expand(count, 3),
            self.normal.expand(count, 3) if with_normals else None,
        )


class Blob:
    """A Gaussian density with a position-dependent albedo, and its true normals."""

    def __call__(
        self, positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        density = 8 * torch.exp(-positions.square().sum(dim=-1) / (2 * STD**2))
        normals = torch.nn.functional.normalize(positions, dim=-1) if with_normals else None
        return FieldSample(density, 0.5 + 0.5 * positions.sin(), normals)


def _rays(batch: int = 1, size: int = 8, *, aside: float = 0.0) -> Rays:
    """Return parallel rays down the z axis over [-1.2, 1.2]^2, in float64."""
    axis = torch.linspace(-1.2, 1.2, size, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    origins = torch.stack([x + aside, y, torch.full_like(x, 3.0)], dim=-1)
    down = torch.tensor([0, 0, -1], dtype=torch.float64)
    shape = (batch, size, size, 3)
    return Rays(origins.expand(shape), down.expand(shape))


def _through_centre() -> Rays:
    return Rays(
        torch.tensor([[[[0, 0, 3]]]], dtype=torch.float64),
        torch.tensor([[[[0, 0, -1]]]], dtype=torch.float64),
    )


def _lighting(*modes: tuple[float, float, bool], height: float = 100.0) -> Lighting:
    positions = torch.tensor([[0, 0, height]], dtype=torch.float64).expand(len(modes), 3)
    ambient, diffuse, textureless = (torch.tensor(column) for column in zip(*modes, strict=True))
    return Lighting(positions, ambient.double(), diffuse.double(), textureless)


ALBEDO = (1.0, 0.0, False)
SHADED = (0.1, 0.9, False)
TEXTURELESS = (0.1, 0.9, True)


def _render(
    field: SampleField, rays: Rays, *modes: tuple[float, float, bool], **options: Any
) -> RenderOutput:
    return _render_with_samples(field, rays, *modes, **options)[0]


def _render_with_samples(
    field: SampleField,
    rays: Rays,
    *modes: tuple[float, float, bool],
    occupancy: OccupancyGrid | None = None,
    with_normals: bool = False,
    step: int | None = None,
    num_samples: int = 64,
    background: float = 0.25,
    beyond: UnboundedSection | None = None,
) -> tuple[RenderOutput, RaySamples]:
    shape = rays.origins.shape
    return render(
        field,
        rays,
        _lighting(*(modes or [ALBEDO] * shape[0])),
        torch.full(shape, background, dtype=torch.float64),
        section=SECTION.model_copy(update={"num_samples": num_samples, "beyond": beyond}),
        bounding_radius=RADIUS,
        occupancy=occupancy,
        with_normals=with_normals,
        generator=None if step is None else generator(0, "jitter", step),
    )


@pytest.mark.parametrize("num_samples", [1, 5, 64])
def test_a_ball_of_fog_is_the_closed_form(num_samples: int) -> None:
    output = _render(Fog(1.3), _rays(), num_samples=num_samples)
    impact_squared = _rays().origins[..., :2].square().sum(dim=-1)
    chord = 2 * (1 - impact_squared).clamp_min(0).sqrt()
    opacity = -torch.expm1(-1.3 * chord)
    torch.testing.assert_close(output.opacity, opacity, atol=1e-12, rtol=0)
    albedo = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    expected = opacity[..., None] * albedo + (1 - opacity[..., None]) * 0.25
    torch.testing.assert_close(output.image, expected, atol=1e-12, rtol=0)


def test_jitter_leaves_homogeneous_fog_unchanged_and_moves_a_blob() -> None:
    plain, moved = _render(Fog(1.3), _rays()), _render(Fog(1.3), _rays(), step=0)
    torch.testing.assert_close(moved.image, plain.image, atol=1e-12, rtol=0)
    assert not torch.equal(_render(Blob(), _rays(), step=0).image, _render(Blob(), _rays()).image)


def test_a_recipe_without_jitter_draws_nothing() -> None:
    random = generator(0, "jitter")
    before = random.get_state()
    render(
        Fog(1.0),
        _rays(),
        _lighting(ALBEDO),
        torch.zeros(1, 8, 8, 3, dtype=torch.float64),
        section=SECTION.model_copy(update={"jitter": False}),
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=random,
    )
    assert torch.equal(random.get_state(), before)


def test_mean_depth_of_dense_fog_is_the_surface() -> None:
    depth = _render(Fog(1e4), _through_centre(), num_samples=1000).depth
    assert float(depth.detach()) == pytest.approx(2, abs=2e-3)


def test_a_gaussian_blob_has_its_closed_form_depth() -> None:
    output = _render(Blob(), _through_centre(), num_samples=400)
    cut = math.erf(RADIUS / (STD * math.sqrt(2)))
    depth = 8 * STD * math.sqrt(2 * math.pi) * cut
    assert float(output.opacity) == pytest.approx(-math.expm1(-depth), abs=1e-6)


@pytest.mark.parametrize(("mode", "factor"), [(ALBEDO, 1.0), (SHADED, 0.55), (TEXTURELESS, 0.55)])
def test_each_image_has_its_own_mode(mode: tuple[float, float, bool], factor: float) -> None:
    # A light far up the z axis meets this normal at 60 degrees.
    field = Fog(1e5, normal=(math.sin(math.pi / 3), 0, 0.5))
    one = _through_centre()
    rays = Rays(one.origins.expand(2, 1, 1, 3), one.directions.expand(2, 1, 1, 3))
    lighting = _lighting(ALBEDO, mode, height=1e9)
    output, _ = render(
        field,
        rays,
        lighting,
        torch.zeros(2, 1, 1, 3, dtype=torch.float64),
        section=SECTION,
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
    )
    albedo = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(output.image[0, 0, 0], albedo)
    expected = factor * (torch.ones_like(albedo) if mode[2] else albedo)
    torch.testing.assert_close(output.image[1, 0, 0], expected, atol=1e-7, rtol=0)


def test_normals_are_computed_only_where_something_needs_them() -> None:
    for modes, wanted, expected in (
        ([ALBEDO], False, False),
        ([ALBEDO], True, True),
        ([SHADED], False, True),
    ):
        field = Fog(1.0)
        output = _render(field, _rays(), *modes, with_normals=wanted)
        assert field.asked_for_normals == [expected]
        assert bool((output.normals != 0).any()) == expected


def _occupancy_of_blob() -> OccupancyGrid:
    grid = OccupancyGrid(OCCUPANCY, RADIUS)
    grid.set_step(0)
    for step in range(8):
        grid.update(
            lambda x: Blob()(x, False, None).densities, generator=generator(0, "grid", step)
        )
    return grid


def test_skipping_empty_space_changes_less_than_its_bound() -> None:
    grid = _occupancy_of_blob()
    counts: list[int] = []

    def counted(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        counts.append(len(positions))
        return Blob()(positions, with_normals, variances)

    whole = _render(counted, _rays(), SHADED)
    sparse = _render(counted, _rays(), SHADED, occupancy=grid)
    assert counts[1] < 0.8 * counts[0]
    bound = -math.expm1(-OCCUPANCY.density_threshold * 2 * RADIUS)
    assert float((whole.image - sparse.image).abs().max()) <= bound
    assert float((whole.opacity - sparse.opacity).abs().max()) <= bound


def _empty_grid() -> OccupancyGrid:
    grid = OccupancyGrid(OCCUPANCY, RADIUS)
    grid.set_step(0)
    grid.update(lambda x: torch.zeros(len(x)), generator=generator(0, "grid"))
    return grid


@pytest.mark.parametrize("case", ["no ray meets the sphere", "everything is skipped"])
@pytest.mark.parametrize("mode", [ALBEDO, SHADED])
def test_nothing_to_see_is_background_and_can_be_differentiated(
    case: str, mode: tuple[float, float, bool]
) -> None:
    field = Fog(1.0)
    missed = case == "no ray meets the sphere"
    rays = _rays(aside=10.0) if missed else _rays()
    grid = None if missed else _empty_grid()
    output, samples = _render_with_samples(field, rays, mode, occupancy=grid, with_normals=True)
    assert field.num_samples == [0]
    assert (output.image == 0.25).all()
    for name in ("opacity", "depth", "normals"):
        assert (getattr(output, name) == 0).all(), name
        assert getattr(output, name).requires_grad, name
    penalties = [orientation(samples), distortion(samples)]
    assert all((penalty == 0).all() for penalty in penalties)
    (output.image.sum() + sum(penalty.sum() for penalty in penalties)).backward()
    for parameter in (field.density, field.albedo, field.normal):
        assert parameter.grad is None or (parameter.grad == 0).all()


def test_rays_that_miss_beside_rays_that_meet() -> None:
    output = _render(Fog(5.0), _rays())
    outside = _rays().origins[..., :2].norm(dim=-1) >= 1
    assert outside.any()
    assert (output.image[outside] == 0.25).all()
    assert (output.opacity[~outside] > 0).all()


def test_a_batch_is_its_images_one_by_one() -> None:
    first, second = _rays(), _rays(aside=0.3)
    both = Rays(
        torch.cat([first.origins, second.origins]), torch.cat([first.directions, second.directions])
    )
    together = _render(Blob(), both, ALBEDO, SHADED)
    apart = [_render(Blob(), first, ALBEDO), _render(Blob(), second, SHADED)]
    for index, single in enumerate(apart):
        torch.testing.assert_close(together.image[index], single.image[0])
        torch.testing.assert_close(together.depth[index], single.depth[0])


def test_the_image_has_the_gradient_of_finite_differences() -> None:
    def image(density: torch.Tensor, albedo: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
        field = Fog(0.0)
        field.density, field.albedo, field.normal = density, albedo, normal
        return _render(field, _rays(size=3), SHADED, num_samples=4).image

    field = Fog(0.8, normal=(0.1, 0.2, 0.7))
    inputs = (field.density, field.albedo, field.normal)
    assert torch.autograd.gradcheck(image, inputs)


def test_twice_gives_the_same_bytes() -> None:
    first, again = (_render(Blob(), _rays(), SHADED, step=4) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.normals, again.normals)


def _everywhere(density: float) -> SampleField:
    """Return fog of one density without an end."""

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        fog = torch.full_like(positions[:, 0], density)
        return FieldSample(fog, torch.ones_like(positions), None)

    return sample


@pytest.mark.parametrize("with_occupancy", [False, True])
def test_fog_behind_the_sphere_is_seen_where_the_recipe_says_so(with_occupancy: bool) -> None:
    """From the centre: 1 unit of fog to the sphere, and 9 more to the far distance."""
    rays = Rays(torch.zeros(1, 1, 1, 3).double(), torch.tensor([[[[0, 0, 1.0]]]]).double())
    occupancy = OccupancyGrid(OCCUPANCY, RADIUS) if with_occupancy else None
    if occupancy is not None:
        occupancy.set_step(10)
        empty = torch.zeros_like(occupancy.occupied)
        occupancy.occupied = empty  # it says that the whole sphere can be skipped
    inside = 0.0 if with_occupancy else 1.0
    scene = UnboundedSection(num_samples=5, far=10.0, proposal=None)
    for beyond, length in ((None, inside), (scene, inside + 9)):
        output = _render(_everywhere(0.2), rays, beyond=beyond, occupancy=occupancy)
        assert float(output.opacity) == pytest.approx(-math.expm1(-0.2 * length), abs=1e-12)


def test_a_cone_asks_about_the_frustums_of_its_pixel() -> None:
    """Down the z axis from 3: two pieces of the sphere, t in [2, 3] and [3, 4]."""
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        assert variances is not None
        asked.append((positions, variances))
        return FieldSample(torch.ones_like(positions[:, 0]), torch.ones_like(positions), None)

    line = _through_centre()
    rays = Rays(line.origins, line.directions, torch.full((1, 1, 1), 0.2, dtype=torch.float64))
    section = SECTION.model_copy(update={"num_samples": 2, "jitter": False, "footprint": "cone"})
    output, _ = render(
        sample,
        rays,
        _lighting(ALBEDO),
        torch.zeros(1, 1, 1, 3, dtype=torch.float64),
        section=section,
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
    )
    assert float(output.opacity) == pytest.approx(-math.expm1(-2.0))
    ((positions, variances),) = asked
    # Moments of t^2 over [2, 3] and [3, 4], by hand: (3 / 4) (b^4 - a^4) / (b^3 - a^3), and so on.
    means = torch.tensor([0.75 * 65 / 19, 0.75 * 175 / 37], dtype=torch.float64)
    squares = torch.tensor([0.6 * 211 / 19, 0.6 * 781 / 37], dtype=torch.float64)
    torch.testing.assert_close(positions[:, 2], 3 - means)
    torch.testing.assert_close(variances[:, 2], squares - means**2)
    torch.testing.assert_close(variances[:, :2], (0.01 * squares)[:, None].expand(2, 2))


class Wall:
    """As a proposal: fog of one density from z = 0.5 down to z = -0.5, nothing elsewhere."""

    num_samples = 12
    exponent = 1.0

    def __init__(self, density: float) -> None:
        self.density = torch.tensor(density, dtype=torch.float64, requires_grad=True)

    def __call__(self, positions: torch.Tensor, variances: torch.Tensor | None) -> torch.Tensor:
        return torch.where(positions[:, 2].abs() < 0.5, self.density, 0.0)


def _with_proposal(
    field: SampleField, proposal: Wall | None, rays: Rays
) -> tuple[RenderOutput, RaySamples]:
    return render(
        field,
        rays,
        _lighting(ALBEDO),
        torch.full(rays.origins.shape, 0.25, dtype=torch.float64),
        section=SECTION.model_copy(update={"num_samples": 8}),
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
        proposal=proposal,
    )


def test_the_field_is_asked_where_the_proposal_sees_something() -> None:
    """Eight pieces over z from 1 to -1: the wall fills four, and dilation adds one on each side."""
    asked: list[torch.Tensor] = []

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        asked.append(positions)
        return Fog(1.0)(positions, with_normals, variances)

    _with_proposal(sample, Wall(2.0), _through_centre())
    (positions,) = asked
    assert len(positions) == 12
    assert (positions[1:, 2] < positions[:-1, 2]).all()
    assert int((positions[:, 2].abs() < 0.75).sum()) >= 11


def test_fog_looks_alike_however_its_samples_were_chosen() -> None:
    """Homogeneous fog has one closed form, and pieces of any length give it."""
    (even, _), (chosen, _) = (_with_proposal(Fog(1.3), p, _rays()) for p in (None, Wall(2.0)))
    torch.testing.assert_close(chosen.image, even.image, atol=1e-12, rtol=0)


def test_the_image_sends_nothing_to_the_proposal() -> None:
    proposal = Wall(0.1)
    output, _ = _with_proposal(Fog(3.0), proposal, _through_centre())
    moved = torch.autograd.grad(output.image.sum(), [proposal.density], allow_unused=True)
    assert moved[0] is None
