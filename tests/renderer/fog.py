"""Fields with closed forms, and the rays and light that they are rendered with."""

from typing import Any

import torch

from dreamfusion_kit.recipe.schema import OccupancySection, RendererSection, UnboundedSection
from dreamfusion_kit.records import FieldSample, Lighting, Rays, RenderOutput, SampleField
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
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


class Wall:
    """As a proposal: fog of one density from z = 0.5 down to z = -0.5, nothing elsewhere."""

    num_samples = 12
    exponent = 1.0

    def __init__(self, density: float) -> None:
        self.density = torch.tensor(density, dtype=torch.float64, requires_grad=True)

    def __call__(self, positions: torch.Tensor, variances: torch.Tensor | None) -> torch.Tensor:
        return torch.where(positions[:, 2].abs() < 0.5, self.density, 0.0)


def rays_down(batch: int = 1, size: int = 8, *, aside: float = 0.0) -> Rays:
    """Return parallel rays down the z axis over [-1.2, 1.2]^2, in float64."""
    axis = torch.linspace(-1.2, 1.2, size, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    origins = torch.stack([x + aside, y, torch.full_like(x, 3.0)], dim=-1)
    down = torch.tensor([0, 0, -1], dtype=torch.float64)
    shape = (batch, size, size, 3)
    return Rays(origins.expand(shape), down.expand(shape))


def through_centre() -> Rays:
    return Rays(
        torch.tensor([[[[0, 0, 3]]]], dtype=torch.float64),
        torch.tensor([[[[0, 0, -1]]]], dtype=torch.float64),
    )


def light_from_above(*modes: tuple[float, float, bool], height: float = 100.0) -> Lighting:
    positions = torch.tensor([[0, 0, height]], dtype=torch.float64).expand(len(modes), 3)
    ambient, diffuse, textureless = (torch.tensor(column) for column in zip(*modes, strict=True))
    return Lighting(positions, ambient.double(), diffuse.double(), textureless)


ALBEDO = (1.0, 0.0, False)
SHADED = (0.1, 0.9, False)
TEXTURELESS = (0.1, 0.9, True)


def rendered(
    field: SampleField, rays: Rays, *modes: tuple[float, float, bool], **options: Any
) -> RenderOutput:
    return rendered_with_samples(field, rays, *modes, **options)[0]


def rendered_with_samples(
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
        light_from_above(*(modes or [ALBEDO] * shape[0])),
        torch.full(shape, background, dtype=torch.float64),
        section=SECTION.model_copy(update={"num_samples": num_samples, "beyond": beyond}),
        bounding_radius=RADIUS,
        occupancy=occupancy,
        with_normals=with_normals,
        generator=None if step is None else generator(0, "jitter", step),
    )
