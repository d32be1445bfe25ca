"""What a training view is: camera, light, shading and background."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    AzimuthRange,
    Color,
    ElevationRange,
    FocalRange,
    Fraction,
    FractionRange,
    Layers,
    LearningRate,
    LengthRange,
    NonNegative,
    ScheduledImageSize,
    Section,
    SparseSection,
    Steps,
    Width,
)


class ObjectViewsSection(Section):
    """Views in groups: cameras evenly around the object, as a multi-view prior denoises them.

    One elevation, distance and focal length is drawn for all of a group. `azimuth_range_deg`
    is then where the first of them stands.
    """

    count: int = Field(
        ge=2, le=16, description="Views of one group, 360 / count degrees apart (MVDream: 4)."
    )
    radius_follows_focal: bool = Field(
        description="Whether radius_range is multiplied by twice the focal length, which is "
        "1 / tan(fov / 2), so that an object fills the same share of the image at every focal "
        "length (MVDream's code: true)."
    )


class CameraSection(SparseSection):
    """Random training cameras on an orbit around the origin (DF s. 3.2 and A.2)."""

    image_size_px: ScheduledImageSize = Field(
        description="Side of the square training renders in pixels (DF: 64), or a size per stretch "
        "of steps (threestudio's ProlificDreamer: 64, from step 5000 on 512)."
    )
    elevation_range_deg: ElevationRange = Field(
        description="Lowest and highest elevation in degrees; 0 is level (DF: [-10, 90])."
    )
    azimuth_range_deg: AzimuthRange = Field(
        description="Azimuths in degrees; 0 faces the object's front, +x (DF: [0, 360])."
    )
    radius_range: LengthRange = Field(
        description="Distance of the camera from the origin, scene units (DF: [1, 1.5])."
    )
    focal_range: FocalRange = Field(
        description="Focal length in image widths (DF: [0.7, 1.35], 71 to 41 degrees)."
    )
    uniform_sphere_probability: Fraction = Field(
        description="Share of elevations drawn uniform in area rather than in angle (DF A.2: 0.5)."
    )
    position_jitter: NonNegative = Field(
        description="Camera offset ~ U(-j, j) per axis, scene units (DF A.2: 0.1)."
    )
    look_at_jitter_std: NonNegative = Field(
        description="Standard deviation of the point looked at, scene units (DF A.2: 0.2)."
    )
    up_jitter_std: NonNegative = Field(
        description="Standard deviation added to the up vector (DF A.2: 0.02)."
    )
    stratified_azimuth: bool = Field(
        description="Whether each image of a batch draws from its own share of the azimuths; "
        "with object_views, each group."
    )
    object_views: ObjectViewsSection | None = Field(
        default=None,
        description="Views in groups around the object, which prior.kind multi_view_unet needs; "
        "absent for views that are drawn one by one.",
    )

    @model_validator(mode="after")
    def _azimuths_are_at_most_one_turn(self) -> "CameraSection":
        lower, upper = self.azimuth_range_deg
        if upper - lower > 360:
            raise ValueError(
                f"azimuth_range_deg: found a width of {upper - lower:g}, expected at most 360"
            )
        return self

    @property
    def views_per_object(self) -> int:
        """Return how many consecutive views of a batch form a group; 1 without groups."""
        return 1 if self.object_views is None else self.object_views.count

    def distance(self, radius: float, focal: float) -> float:
        """Return the camera's distance from the origin for values of the two ranges."""
        follows = self.object_views is not None and self.object_views.radius_follows_focal
        return 2 * focal * radius if follows else radius

    @property
    def largest_image_size_px(self) -> int:
        """Return the largest side that any step renders."""
        size = self.image_size_px
        return size if isinstance(size, int) else max(pixels for _, pixels in size.sizes)

    @property
    def preview_image_size_px(self) -> int:
        """Return the side of previews: the smallest, since a preview shows two views at once."""
        size = self.image_size_px
        return size if isinstance(size, int) else min(pixels for _, pixels in size.sizes)

    def image_size_at(self, step: int) -> int:
        """Return the side at optimiser step `step`."""
        size = self.image_size_px
        return size if isinstance(size, int) else size.value_at(step)


class LightSection(Section):
    """One random point light per view (DF A.2)."""

    direction_std: NonNegative = Field(
        description="Direction ~ N(camera position, std^2 I), normalised (DF A.2: 1)."
    )
    distance_range: LengthRange = Field(
        description="Distance of the light from the origin, scene units (DF A.2: [0.8, 1.5])."
    )


class ShadingSection(Section):
    """How often a view is shaded, and how strongly (DF s. 3.1 and A.2)."""

    albedo_only_steps: Steps = Field(
        description="Steps that show the albedo alone, before any shading (DF A.2: 1000)."
    )
    shaded_probability: Fraction = Field(
        description="Share of views with diffuse shading, afterwards (DF A.2: 0.75)."
    )
    textureless_probability: Fraction = Field(
        description="Share of shaded views whose albedo is replaced by white (DF A.2: 0.5)."
    )
    ambient: Fraction = Field(
        description="Light from everywhere in shaded views, a factor on the albedo (DF A.2: 0.1)."
    )
    diffuse: Fraction = Field(
        description="Light of the point light, a factor on max(0, n.l) (DF A.2: 0.9)."
    )


class ConstantBackgroundSection(Section):
    """One plain colour behind every view."""

    kind: Literal["constant"] = Field(description="The same colour in every view.")
    color: Color = Field(description="RGB in [0, 1].")
    num_parameters: ClassVar[int] = 0
    numbers_per_ray: ClassVar[int] = 3


class RandomBackgroundSection(Section):
    """Plain random backgrounds: a solid colour or a soft linear gradient of two."""

    kind: Literal["random"] = Field(description="A new plain background for each view.")
    value_range: FractionRange = Field(description="Darkest and brightest HSV value, in [0, 1].")
    saturation_max: Fraction = Field(description="HSV saturation ~ U(0, saturation_max).")
    gradient_probability: Fraction = Field(
        description="Share of backgrounds that blend two colours instead of showing one."
    )
    num_parameters: ClassVar[int] = 0
    numbers_per_ray: ClassVar[int] = 3


class MlpBackgroundSection(Section):
    """DreamFusion's learned background: a small network of the ray's direction (DF A.2)."""

    kind: Literal["mlp"] = Field(description="A network that is optimised with the field.")
    num_frequencies: int = Field(
        ge=1, le=16, description="Frequencies 2^0 to 2^(L-1) of the direction's encoding, L."
    )
    hidden_width: Width = Field(
        description="Units of each hidden layer (DF does not say; Magic3D: 16)."
    )
    num_hidden_layers: Layers = Field(description="Hidden layers; 0 is one linear layer.")
    learning_rate: LearningRate = Field(description="Step size for the network (DF A.2: 1e-4).")

    @property
    def num_parameters(self) -> int:
        """Return the approximate number of optimised parameters."""
        width = self.hidden_width
        return (6 * self.num_frequencies + 4) * width + self.num_hidden_layers * width**2

    @property
    def numbers_per_ray(self) -> int:
        """Return approximately how many numbers a step keeps per ray."""
        return 6 * self.num_frequencies + 2 * (self.num_hidden_layers + 1) * self.hidden_width


PlainBackgroundSection = Annotated[
    ConstantBackgroundSection | RandomBackgroundSection, Field(discriminator="kind")
]
BackgroundSection = Annotated[
    ConstantBackgroundSection | RandomBackgroundSection | MlpBackgroundSection,
    Field(discriminator="kind"),
]
