"""The schema of the latent world in `toybox/params.yaml`: its renders, VAE and two priors."""

from pydantic import Field

from dreamfusion_kit.recipe.schema import (
    Count,
    Fraction,
    LightSection,
    NonNegative,
    Positive,
    Section,
    ShadingSection,
    WorkspacePath,
)
from dreamfusion_kit.toybox.training_settings import (
    ObjectWeights,
    SingleViewCamera,
    TrainingSection,
    UnetSection,
)


class ShelfSection(Section):
    """Renders made while a model trains; a shelf is replaced by fresh ones every few steps."""

    seed: int = Field(description="Seed of objects, colours, cameras, lights and shading modes.")
    shelf_size: Count = Field(description="Renders in memory at a time.")
    object_weights: ObjectWeights = Field(
        description="How often each object is rendered, relative to the others. All are named."
    )
    camera: SingleViewCamera
    light: LightSection
    shading: ShadingSection


class VaeTrainingSection(TrainingSection):
    """The autoencoder between images and latents an eighth of their size."""

    steps_per_shelf: Count = Field(
        description="Steps on one shelf of renders. 1 makes every render fresh, as on a GPU."
    )
    block_out_channels: tuple[Count, ...] = Field(
        description="Channels per level, multiples of `norm_groups`; every level but the last "
        "halves the side."
    )
    layers_per_block: Count = Field(description="Residual blocks per level of the encoder.")
    norm_groups: Count = Field(description="Groups of the group normalisation.")
    latent_channels: Count = Field(description="Channels of the latents.")
    kl_lambda: NonNegative = Field(
        description="Factor of the KL divergence per latent number, beside the L1 loss per pixel "
        "value in [-1, 1]."
    )
    ema_decay: Fraction = Field(description="Decay of the averaged weights that are shipped.")


class DenoiserTrainingSection(TrainingSection):
    """What the priors on latents share."""

    steps_per_shelf: Count = Field(
        description="Steps on one shelf of renders. 1 makes every render fresh, as on a GPU."
    )
    backgrounds_per_render: Count = Field(
        description="How often each render is encoded, each time over another background."
    )
    text_from: WorkspacePath = Field(
        description="Diffusers directory, relative to the workspace, whose tokenizer and trained "
        "text encoder are used, frozen."
    )
    caption_dropout: Fraction = Field(description="Share of empty captions (Ho & Salimans 2022).")
    timestep_power: Positive = Field(
        description="Times are drawn as u^power of the diffusion's, u uniform in [0, 1): 1 is "
        "uniform, less draws more noise."
    )
    ema_decay: Fraction = Field(description="Decay of the averaged weights that are shipped.")
    sample_every_steps: Count = Field(description="Steps between sample sheets.")


class LatentTrainingSection(DenoiserTrainingSection, UnetSection):
    """`toybox-latent`: a U-Net on latents, in Stable Diffusion's layout."""

    norm_groups: Count = Field(description="Groups of the group normalisation.")
    num_heads: Count = Field(description="Attention heads.")


class FlowTrainingSection(DenoiserTrainingSection):
    """`toybox-flow`: a transformer on latents, a rectified flow in Stable Diffusion 3's layout."""

    patch_size: Count = Field(description="Latent positions per side of a token.")
    num_layers: Count = Field(description="Transformer blocks.")
    num_heads: Count = Field(description="Attention heads per block.")
    head_width: Count = Field(description="Channels of a head.")
