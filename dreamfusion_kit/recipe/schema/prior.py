"""Sources of pretrained models, and the priors: frozen text-to-image diffusion models."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dreamfusion_kit.recipe.schema.base import Color, Count, Positive, Section


def _inside_workspace(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path:
        raise ValueError(
            f"found {path!r}, expected a relative path with forward slashes that stays "
            "inside the workspace"
        )
    return path


class LocalSource(Section):
    """A pretrained model that lies in the workspace."""

    kind: Literal["local"] = Field(description="A directory of this workspace.")
    path: Annotated[str, AfterValidator(_inside_workspace)] = Field(
        description="Directory of the model, relative to the workspace."
    )


class HubSource(Section):
    """A pretrained model on the Hugging Face hub, pinned to one commit."""

    kind: Literal["hub"] = Field(description="A repository of the Hugging Face hub.")
    repository: str = Field(
        pattern=r"^[\w.-]+/[\w.-]+$", description="Repository as owner/name on the hub."
    )
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit as 40 hex digits: a branch name would let the model change.",
    )


Source = Annotated[LocalSource | HubSource, Field(discriminator="kind")]


class PixelUnetPrior(Section):
    """A pixel-space U-Net in diffusers format, as Imagen's 64 px base model is (DF s. 2.1)."""

    kind: Literal["pixel_unet"] = Field(description="A pixel-space diffusion U-Net.")
    source: Source = Field(description="Where the diffusers directory comes from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the U-Net computes in."
    )
    image_size_px: Count = Field(
        description="Side of the images the U-Net was trained on, in pixels (DF: 64)."
    )


class MixtureComponent(Section):
    """One Gaussian of the analytic prior: images of one colour, plus white noise."""

    weight: Positive = Field(description="Share of the component, relative to the others.")
    mean_color: Color = Field(description="RGB in [0, 1] that the whole image has on average.")
    std: Positive = Field(
        description="Standard deviation of each pixel in model space, where images are in [-1, 1]."
    )


class AnalyticPrior(Section):
    """A Gaussian mixture whose score is known in closed form: the oracle of the tests."""

    kind: Literal["analytic"] = Field(description="A Gaussian mixture; needs no weights.")
    components: tuple[MixtureComponent, ...] = Field(
        min_length=1, description="Gaussians of the mixture, at least one."
    )
    image_size_px: Count = Field(description="Side of the images in pixels.")


class ClipPrior(Section):
    """A CLIP in the prior's place, for guidance.kind clip; no diffusion model."""

    kind: Literal["clip"] = Field(description="A CLIP in transformers format.")
    source: Source = Field(description="Where the model's directory comes from.")


Prior = Annotated[PixelUnetPrior | AnalyticPrior | ClipPrior, Field(discriminator="kind")]
