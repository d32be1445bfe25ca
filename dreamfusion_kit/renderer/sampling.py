"""Where rays are sampled: intervals of equal length inside the bounding sphere, and beyond."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.recipe.schema import UnboundedSection
from dreamfusion_kit.records import Rays


@dataclass(frozen=True)
class Intervals:
    """The pieces into which rays are cut, as distances along them in scene units.

    Pieces of a ray touch and cover its way through the sphere exactly; those that a
    shorter way does not need, and all pieces of a ray that misses, have length 0. `t_mids` is
    where a piece is evaluated: its middle, or a random place in it. `edges` are the ends of
    the pieces, on the way from 0 to 1, where they do not share it evenly.
    """

    t_starts: Float[Tensor, "*rays samples"]
    t_ends: Float[Tensor, "*rays samples"]
    t_mids: Float[Tensor, "*rays samples"]
    edges: Float[Tensor, "*rays edges"] | None = None

    @property
    def deltas(self) -> Float[Tensor, "*rays samples"]:
        """Return the lengths, >= 0."""
        return self.t_ends - self.t_starts


def intersect_sphere(
    rays: Rays, radius: float, near: float
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"], Bool[Tensor, "*rays"]]:
    """Return where rays enter and leave a sphere at the origin, and which rays cross it.

    The entry is never nearer than `near`, since DreamFusion's cameras stand inside the
    sphere. Where a ray misses, entry and exit are equal and the mask is False.
    """
    half_b = (rays.origins * rays.directions).sum(dim=-1)
    # Distance from the centre to the ray by rejection: b^2 - c cancels badly far away.
    closest = rays.origins - half_b[..., None] * rays.directions
    half_chord_squared = radius**2 - closest.square().sum(dim=-1)
    half_chord = half_chord_squared.clamp_min(0).sqrt()
    entry = (-half_b - half_chord).clamp_min(near)
    leave = -half_b + half_chord
    crosses = (half_chord_squared > 0) & (leave > entry)
    return entry, torch.where(crosses, leave, entry), crosses


def sample_intervals(
    rays: Rays,
    radius: float,
    *,
    num_samples: int,
    near: float,
    beyond: UnboundedSection | None = None,
    generator: torch.Generator | None = None,
) -> Intervals:
    """Cut each ray's way through the sphere into pieces of length `2 radius / num_samples`.

    The last piece of a way takes what is left. A shorter way has fewer pieces rather
    than shorter ones, so that detail costs the same everywhere. With a `generator` the
    pieces of a ray are evaluated at one random fraction of their length, drawn for each
    ray: still uniform over the way, and neighbours keep their distance.

    With `beyond`, a ray continues from where it leaves the sphere to the far distance, in
    pieces of equal 1 / distance. Cameras then stand inside: a ray that misses begins at
    its nearest point to the centre.
    """
    entry, leave, _ = intersect_sphere(rays, radius, near)
    step = 2 * radius / num_samples
    edges = step * torch.arange(num_samples + 1, device=entry.device, dtype=entry.dtype)
    edges = torch.minimum(entry[..., None] + edges, leave[..., None])
    if beyond is not None:
        edges = torch.cat([edges, _edges_beyond(leave, beyond)], dim=-1)
    t_starts, t_ends = edges[..., :-1], edges[..., 1:]
    fraction = torch.full_like(entry, 0.5)
    if generator is not None:
        fraction = torch.rand(
            entry.shape, generator=generator, device=entry.device, dtype=entry.dtype
        )
    return Intervals(t_starts, t_ends, t_starts + fraction[..., None] * (t_ends - t_starts))


def _edges_beyond(
    leave: Float[Tensor, "*rays"], section: UnboundedSection
) -> Float[Tensor, "*rays samples"]:
    """Return the ends of the pieces behind the sphere; none has a length past `far`."""
    done = torch.arange(1, section.num_samples + 1, device=leave.device, dtype=leave.dtype)
    done = done / section.num_samples
    nearest = leave[..., None].clamp(1e-6 * section.far, section.far)  # 1 / 0 has no middle
    return 1 / ((1 - done) / nearest + done / section.far)
