"""Records shared by packages: cameras, lights, rays, render output, guidance output, truths.

Axes: `batch` images, `h w` pixels, `*rays` any leading axes. Images are in [0, 1] with
channels last; directions have unit length; lengths are in scene units; the world is
z-up and azimuth 0 looks at the object's front from +x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras with square pixels.

    The pose uses OpenGL camera axes (+x right, +y up, -z forward). `azimuth_deg`,
    `elevation_deg` and `radius` are the nominal orbit before any jitter: view prompts
    and reports use them, rays use `camera_to_world` alone.

    `views_per_object` consecutive cameras stand evenly around the object, at one elevation,
    distance and focal length; 1 where each camera was drawn alone.
    """

    camera_to_world: Float[Tensor, "batch 4 4"]
    fov_y_deg: Float[Tensor, " batch"]
    azimuth_deg: Float[Tensor, " batch"]
    elevation_deg: Float[Tensor, " batch"]
    radius: Float[Tensor, " batch"]
    height_px: int
    width_px: int
    views_per_object: int = 1

    @property
    def positions(self) -> Float[Tensor, "batch 3"]:
        """Return the camera centres in world coordinates."""
        return self.camera_to_world[:, :3, 3]


@dataclass(frozen=True)
class Rays:
    """Origins and unit directions in world coordinates.

    `cone_radii` is the radius at distance 1 of the cone of a ray's pixel; None for lines.
    """

    origins: Float[Tensor, "*rays 3"]
    directions: Float[Tensor, "*rays 3"]
    cone_radii: Float[Tensor, "*rays"] | None = None


@dataclass(frozen=True)
class Surface:
    """Triangles in world coordinates, counter-clockwise seen from outside."""

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]


@dataclass(frozen=True)
class Lighting:
    """One point light per image, and how the surface responds to it (DreamFusion, s. 3.1).

    Colour is `albedo * (diffuse * max(0, n.l) + ambient)`; where `textureless` holds the
    albedo is replaced by white. `ambient = 1, diffuse = 0` shows the albedo itself.
    """

    positions: Float[Tensor, "batch 3"]
    ambient: Float[Tensor, " batch"]
    diffuse: Float[Tensor, " batch"]
    textureless: Bool[Tensor, " batch"]


@dataclass(frozen=True)
class FieldSample:
    """A field's values at positions: density (>= 0, per scene unit), albedo in [0, 1].

    `normals` (unit, outward: along the falling density) are present only if requested.
    """

    densities: Float[Tensor, " samples"]
    albedo: Float[Tensor, "samples 3"]
    normals: Float[Tensor, "samples 3"] | None


@runtime_checkable  # beartype checks it in the tests
class SampleField(Protocol):
    """The one thing a renderer needs from a field: its values at world positions.

    Positions lie inside the bounding sphere or, where the recipe has samples beyond it,
    outside; the batch may be empty.
    """

    def __call__(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None,
    ) -> FieldSample:
        """Return density, albedo and, `with_normals`, normals at `positions`.

        With `variances` (scene units squared, per axis) the positions are the means of
        Gaussians, as cone tracing has them; None for points.
        """
        ...


@dataclass(frozen=True)
class RenderOutput:
    """A rendered batch of pictures. Everything is differentiable with respect to the field.

    `image` is composited over the background; `opacity` is the accumulated alpha;
    `depth` the weighted mean distance along the ray (0 where nothing was met);
    `normals` the weighted, unnormalised mean normal (zeros when none were computed).
    """

    image: Float[Tensor, "batch h w 3"]
    opacity: Float[Tensor, "batch h w"]
    depth: Float[Tensor, "batch h w"]
    normals: Float[Tensor, "batch h w 3"]


@dataclass(frozen=True)
class GuidanceOutput:
    """The gradient that a guidance puts on rendered images, and what to log about it.

    `gradient` has the shape of the images in model layout (channels first). It is that of a loss
    which is a mean over the batch and over the pixels of each image. `opacity_gradient` is what a
    guidance also puts on the accumulated alpha; None for most. `timesteps` are in [0, 1].

    `noise` is what was added to the views and `prediction` what the frozen model led to, in its
    space: a score distillation's residual, a CLIP's similarity. Only digests are taken of them.
    """

    gradient: Float[Tensor, "batch 3 h w"]
    opacity_gradient: Float[Tensor, "batch h w"] | None
    timesteps: Float[Tensor, " batch"]
    noise: Float[Tensor, "batch channels height width"] | None = None
    prediction: Float[Tensor, "batch ..."] | None = None


@dataclass(frozen=True)
class Truth:
    """What is known of an object beside its prompt: its shape, its appearance, its name.

    The toybox supplies it for its own objects. Other prompts have none, and measurements
    against it are then left out.

    `caption` is the object's own in the canonical form. `held_out` says whether the prior's
    training never saw the pair of colour and object. `distances` is negative inside; only its
    sign and zero level count, inside the ball of `bounding_radius` around the origin.
    `names_object` tells whether a caption names this object, in any colour. `plaster` are
    captions of textureless renders, one per object; this object's is at `own_plaster`.
    `sides` names the side that each image shows, None for an object without distinct sides.
    """

    caption: str
    held_out: bool
    distances: Callable[[Float[Tensor, "samples 3"]], Float[Tensor, " samples"]]
    bounding_radius: float
    render: Callable[[Cameras, Lighting, Float[Tensor, "batch h w 3"]], Tensor]
    names_object: Callable[[str], bool]
    plaster: tuple[str, ...]
    own_plaster: int
    sides: Callable[[Float[Tensor, "images h w 3"]], list[str]] | None
