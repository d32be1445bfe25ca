"""The schema of a recipe: every key of a method, with its range, unit and source.

A recipe is complete: no key has a default here, because what does not stand in a file
is not tracked. "DF" cites DreamFusion (arXiv 2209.14988).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Color = tuple[Fraction, Fraction, Fraction]


class Section(BaseModel):
    """Base of every section: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LinearSchedule(Section):
    """A value that moves linearly from `start` to `end` between two steps, constant outside."""

    start: float
    end: float
    from_step: Steps
    to_step: Steps


Schedule = NonNegative | LinearSchedule
Range = tuple[float, float]  # lower, upper; validated ordered


# ---- prior


class LocalSource(Section):
    kind: Literal["local"]
    path: str  # a directory inside the workspace


class HubSource(Section):
    kind: Literal["hub"]
    repository: str
    revision: str  # a 40-digit commit


Source = Annotated[LocalSource | HubSource, Field(discriminator="kind")]


class PixelUnetPrior(Section):
    kind: Literal["pixel_unet"]
    source: Source
    dtype: Literal["float32", "bfloat16", "float16"]
    image_size_px: Count


class MixtureComponent(Section):
    weight: Positive
    mean_color: Color  # in [0, 1]: the whole image has this colour
    std: NonNegative  # in model space, where images are in [-1, 1]


class AnalyticPrior(Section):
    kind: Literal["analytic"]
    components: tuple[MixtureComponent, ...]
    image_size_px: Count


Prior = Annotated[PixelUnetPrior | AnalyticPrior, Field(discriminator="kind")]


# ---- guidance


class ViewPrompts(Section):
    enabled: bool
    front: str
    side: str
    back: str
    overhead: str
    overhead_above_deg: float
    front_half_width_deg: Positive
    back_half_width_deg: Positive


class SdsGuidance(Section):
    kind: Literal["sds"]
    guidance_scale: NonNegative  # s in eps_u + s (eps_c - eps_u); DF omega = s - 1
    timestep_weight: Literal["sigma_squared", "uniform", "sigma_over_alpha"]
    timestep_min: Schedule  # fraction of the diffusion time
    timestep_max: Schedule
    negative_prompt: str
    view_prompts: ViewPrompts


Guidance = SdsGuidance  # becomes a discriminated union with the second guidance


# ---- camera, light, shading, background


class Camera(Section):
    image_size_px: Count
    elevation_range_deg: Range
    azimuth_range_deg: Range
    radius_range: Range
    focal_range: Range  # focal length in image widths
    uniform_sphere_probability: Fraction
    position_jitter: NonNegative
    look_at_jitter_std: NonNegative
    up_jitter_std: NonNegative
    stratified_azimuth: bool


class Light(Section):
    direction_std: NonNegative  # direction ~ N(camera position, std^2 I), normalised
    distance_range: Range


class Shading(Section):
    albedo_only_steps: Steps
    shaded_probability: Fraction
    textureless_probability: Fraction
    ambient: Fraction
    diffuse: Fraction


class ConstantBackground(Section):
    kind: Literal["constant"]
    color: Color


class RandomBackground(Section):
    """Plain random backgrounds: a solid colour or a soft linear gradient of two."""

    kind: Literal["random"]
    value_range: Range  # HSV value
    saturation_max: Fraction  # HSV saturation ~ U(0, max)
    gradient_probability: Fraction


Background = Annotated[ConstantBackground | RandomBackground, Field(discriminator="kind")]


# ---- field


class GaussianBias(Section):
    kind: Literal["gaussian"]
    stage: Literal["pre", "post"]  # added before or after the density activation
    scale: float
    std: Positive


class ConeBias(Section):
    kind: Literal["cone"]
    stage: Literal["pre", "post"]
    scale: float
    radius: Positive


DensityBias = Annotated[GaussianBias | ConeBias, Field(discriminator="kind")]


class VoxelGridField(Section):
    kind: Literal["voxel_grid"]
    resolution: Count  # vertices per axis
    bounding_radius: Positive
    density_activation: Literal["exp", "softplus"]
    density_bias: DensityBias
    density_offset: float  # added before the activation; negative makes empty space empty
    density_learning_rate: Positive
    albedo_learning_rate: Positive


class HashGridField(Section):
    kind: Literal["hash_grid"]
    num_levels: Count
    features_per_level: Count
    log2_table_size: Count
    min_resolution: Count
    max_resolution: Count
    initial_levels: Count
    level_every_steps: Count  # coarse to fine: one more level each so many steps
    hidden_width: Count
    num_hidden_layers: Count
    backend: Literal["torch", "tinycudann"]
    bounding_radius: Positive
    density_activation: Literal["exp", "softplus"]
    density_bias: DensityBias
    density_offset: float
    normal_epsilon: Positive  # finite-difference step, scene units
    encoding_learning_rate: Positive
    network_learning_rate: Positive


FieldSection = Annotated[VoxelGridField | HashGridField, Field(discriminator="kind")]


# ---- renderer


class Occupancy(Section):
    resolution: Count
    update_every_steps: Count
    warmup_steps: Steps  # everything counts as occupied before
    decay: Fraction
    density_threshold: NonNegative


class Renderer(Section):
    num_samples: Count
    jitter: bool
    near: NonNegative
    occupancy: Occupancy


# ---- optimisation


class Adam(Section):
    kind: Literal["adam"]
    betas: tuple[Fraction, Fraction]
    epsilon: Positive


class LearningRateDecay(Section):
    warmup_steps: Steps
    initial_fraction: Fraction  # of the learning rate at step 0, rising linearly; DF: 1e-5
    kind: Literal["none", "cosine"]
    final_fraction: Fraction


class Regularizers(Section):
    opacity_lambda: Schedule  # sqrt(opacity^2 + 0.01), DF A.2
    orientation_lambda: Schedule
    entropy_lambda: Schedule  # binary entropy of each ray's opacity
    smoothness_lambda: Schedule  # the field's own total variation


class Watchdog(Section):
    check_every_steps: Count
    after_step: Steps
    min_opacity: Fraction  # mean over the image
    max_opacity: Fraction


class Optimize(Section):
    num_steps: Count
    batch_size: Count
    optimizer: Adam
    learning_rate_decay: LearningRateDecay
    max_gradient_norm: Positive | None  # of all parameters together; null clips nothing
    regularizers: Regularizers
    checkpoint_every_steps: Count
    preview_every_steps: Count
    watchdog: Watchdog


# ---- mesh


class AdaptiveThreshold(Section):
    kind: Literal["adaptive"]
    fraction: Fraction  # of the way from the empty to the solid density level


class FixedThreshold(Section):
    kind: Literal["fixed"]
    density: Positive


Threshold = Annotated[AdaptiveThreshold | FixedThreshold, Field(discriminator="kind")]


class Mesh(Section):
    grid_resolution: Count
    threshold: Threshold
    min_component_fraction: Fraction  # of the largest component's area
    max_faces: Count
    smoothing_iterations: Steps
    texture_size_px: Count


class Recipe(Section):
    """A complete text-to-3D method."""

    summary: str
    prior: Prior
    guidance: Guidance
    camera: Camera
    light: Light
    shading: Shading
    background: Background
    field: FieldSection
    renderer: Renderer
    optimize: Optimize
    mesh: Mesh
