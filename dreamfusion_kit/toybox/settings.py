"""The schema of `toybox/params.yaml`: how the embedded world, its prior and judges are made."""

from typing import Annotated

from pydantic import Field

from dreamfusion_kit.recipe.schema import (
    Count,
    Fraction,
    LightSection,
    NonNegative,
    Positive,
    Section,
    ShadingSection,
)
from dreamfusion_kit.toybox.latent_settings import (
    FlowTrainingSection,
    LatentTrainingSection,
    ShelfSection,
    VaeTrainingSection,
)
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.training_settings import (
    SingleViewCamera,
    TrainingSection,
    UnetSection,
)

_MultipleOf8 = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class DatasetSection(Section):
    """What is rendered: every pair that is not held out, from random cameras."""

    seed: int = Field(description="Seed of cameras, lights and shading modes.")
    images_per_pair: Count = Field(description="Renders of each (colour, object) pair.")
    camera: SingleViewCamera
    light: LightSection
    shading: ShadingSection


class PriorTrainingSection(TrainingSection, UnetSection):
    """The text-to-image diffusion model."""

    steps_per_shelf: Count = Field(
        description="Steps on one shelf of renders, each over a new background in each batch. 1 "
        "makes every render fresh."
    )
    patch_size: Count = Field(
        description="Pixels per side of the square that the U-Net reads as one position "
        "(space-to-depth, a permutation of pixels: the diffusion itself is unchanged)."
    )
    text_width: Count = Field(description="Width of the text encoder.")
    text_layers: Count = Field(description="Layers of the text encoder.")
    caption_dropout: Fraction = Field(description="Share of empty captions (Ho & Salimans 2022).")
    timestep_power: Positive = Field(
        description="Timesteps are drawn as u^power of the diffusion time, u uniform in [0, 1): "
        "1 is uniform, less draws more noise. Only there are the words needed."
    )
    attribute_lambda: NonNegative = Field(
        description="Factor of the cross-entropy with which a linear head reads colour, object "
        "and view from the text features, so that rare and weakly felt words reach the U-Net."
    )
    ema_decay: Fraction = Field(description="Decay of the averaged weights that are shipped.")
    sample_every_steps: Count = Field(description="Steps between sample sheets.")


class ClipTrainingSection(TrainingSection):
    """The contrastive image-text model that evaluates."""

    width: Count = Field(description="Width of both towers.")
    layers: Count = Field(description="Layers of both towers.")
    image_patch_px: Count = Field(description="Patch of the vision transformer.")
    embedding_size: Count = Field(description="Width of the joint space.")


class ViewTrainingSection(TrainingSection):
    """The view classifier, which says what side of an object is seen."""

    channels: tuple[_MultipleOf8, ...] = Field(
        min_length=1,
        description="Channels of each convolution, multiples of 8; each level halves the side.",
    )


class ToyboxSettings(Section):
    """The whole of `toybox/params.yaml`."""

    dataset: DatasetSection
    clip_dataset: DatasetSection
    prior_shelf: ShelfSection
    prior: PriorTrainingSection
    clip: ClipTrainingSection
    view: ViewTrainingSection
    multi_view: MultiViewTrainingSection
    shelf: ShelfSection
    vae: VaeTrainingSection
    latent: LatentTrainingSection
    flow: FlowTrainingSection
