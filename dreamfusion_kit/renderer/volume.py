"""Volume rendering of a density and albedo field with lights (DreamFusion, s. 3.1).

Rays are cut into intervals, the field is queried in those that may be occupied
(`ray_samples`), and each sample is shaded before compositing.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schema import RendererSection
from dreamfusion_kit.records import FieldSample, Lighting, Rays, RenderOutput, SampleField
from dreamfusion_kit.renderer.compositing import (
    composite_over,
    depth_from_weights,
    opacity_from_weights,
)
from dreamfusion_kit.renderer.histogram import resample
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_samples import (
    Packing,
    PlacedSamples,
    RaySamples,
    place_samples,
)
from dreamfusion_kit.renderer.sampling import sample_intervals
from dreamfusion_kit.renderer.shading import shade


@runtime_checkable  # beartype checks it in the tests
class Proposal(Protocol):
    """The one thing a renderer needs from a proposal network (mip-NeRF 360, s. 3)."""

    num_samples: int
    """Samples per ray that the field is then queried at."""
    exponent: float
    """Power of the network's weights that these samples are drawn from."""

    def __call__(
        self, positions: Float[Tensor, "samples 3"], variances: Float[Tensor, "samples 3"] | None
    ) -> Float[Tensor, " samples"]:
        """Return densities, per scene unit, at positions as `SampleField` defines them."""
        ...


def render(
    sample_field: SampleField,
    rays: Rays,
    lighting: Lighting,
    background: Float[Tensor, "batch h w 3"],
    *,
    section: RendererSection,
    bounding_radius: float,
    occupancy: OccupancyGrid | None,
    with_normals: bool,
    generator: torch.Generator | None,
    proposal: Proposal | None = None,
) -> tuple[RenderOutput, RaySamples]:
    """Render `batch h w` rays; return the pictures, and what ray penalties read.

    Every output has a graph even where no ray meets anything, so that a loss on an empty
    image can be differentiated.

    Args:
        sample_field: The field; queried once, at all samples that are kept.
        rays: Origins and directions as `batch h w 3`.
        lighting: One light and one shading mode per image.
        background: What shows behind the field, in [0, 1].
        section: Samples per ray, nearest distance, jitter.
        bounding_radius: Radius of the sphere outside of which nothing is sampled.
        occupancy: Which space to skip; None evaluates all of it.
        with_normals: Whether normals are needed for their own sake. Where any image has a
            diffuse light they are computed anyway.
        generator: Jitters samples in their intervals if the recipe says so; None never does.
        proposal: Queried at the recipe's samples, to choose others for the field.
    """
    flat = _flattened(rays)
    intervals = sample_intervals(
        flat,
        bounding_radius,
        num_samples=section.num_samples,
        near=section.near,
        beyond=section.beyond,
        generator=generator if section.jitter else None,
    )
    placed = place_samples(flat, intervals, section, bounding_radius, occupancy)
    proposed = None
    if proposal is not None:
        proposed = placed.weights(proposal(placed.positions, placed.variances))
        intervals = resample(
            intervals,
            proposed.detach(),
            num_samples=proposal.num_samples,
            exponent=proposal.exponent,
        )
        placed = place_samples(flat, intervals, section, bounding_radius, occupancy)
    with_normals = with_normals or bool((lighting.diffuse > 0).any())
    found = sample_field(placed.positions, with_normals, placed.variances)
    weights = placed.weights(found.densities)
    samples = RaySamples(
        flat.directions, weights, intervals.edges, proposed, placed.packing, found.normals
    )
    return _picture(found, placed, weights, lighting, background), samples


def _picture(
    found: FieldSample,
    placed: PlacedSamples,
    weights: Float[Tensor, "rays samples"],
    lighting: Lighting,
    background: Float[Tensor, "batch h w 3"],
) -> RenderOutput:
    """Shade and composite; `weights` are those of the field's densities."""
    packing, num_pixels = placed.packing, background[0, ..., 0].numel()
    packed_weights = packing.pack(weights)
    opacity = opacity_from_weights(weights)
    color = packing.sum_per_ray(packed_weights * _colors(found, placed, lighting, num_pixels))
    normals = _mean_normals(found, packed_weights, packing)
    shape = background.shape[:-1]
    return RenderOutput(
        image=composite_over(color.view(*shape, 3), opacity.view(shape), background),
        opacity=opacity.view(shape),
        depth=depth_from_weights(weights, placed.intervals.t_mids).view(shape),
        normals=normals.view(*shape, 3),
    )


def _flattened(rays: Rays) -> Rays:
    radii = None if rays.cone_radii is None else rays.cone_radii.flatten()
    return Rays(rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), radii)


def _colors(
    found: FieldSample, placed: PlacedSamples, lighting: Lighting, num_pixels: int
) -> Float[Tensor, "samples 3"]:
    """Return each sample's colour under the light of its image, which has `num_pixels`."""
    image = placed.packing.ray_indices // num_pixels
    return shade(
        found.albedo,
        torch.zeros_like(found.albedo) if found.normals is None else found.normals,
        placed.positions,
        lighting.positions.index_select(0, image),
        lighting.ambient[image],
        lighting.diffuse[image],
        lighting.textureless[image],
    )


def _mean_normals(
    found: FieldSample, packed_weights: Float[Tensor, "samples 1"], packing: Packing
) -> Float[Tensor, "rays 3"]:
    """Return each ray's weighted normal, which is not of unit length; zeros without normals."""
    if found.normals is None:
        return packing.sum_per_ray(0.0 * packed_weights).expand(-1, 3)
    return packing.sum_per_ray(packed_weights * found.normals)
