"""What is added to a pretrained model: LoRAs, textual inversions, another VAE."""

from typing import Annotated

from pydantic import AfterValidator, Field

from dreamfusion_kit.recipe.schema.base import Section, is_one_line
from dreamfusion_kit.recipe.schema.source import (
    BundledViewsSection,
    LoraSourceSection,
    PartSourceSection,
)


class LoraSection(Section):
    """A low-rank adaptation (LoRA, arXiv 2106.09685), merged into the weights as they are read."""

    source: LoraSourceSection = Field(
        description="A safetensors file in kohya's or diffusers' layout."
    )
    scale: float = Field(
        ge=-10, le=10, description="Factor on the adaptation; 1 is as it was trained."
    )


def _is_token(token: str) -> str:
    if " " in token:
        raise ValueError(f"found {token!r}, expected one word, such as <my-style>")
    return token


class TextualInversionSection(Section):
    """A word that was learned from pictures (Gal et al., arXiv 2208.01618)."""

    source: PartSourceSection = Field(description="A safetensors file with its embedding.")
    token: Annotated[
        str,
        Field(min_length=3, max_length=100),
        AfterValidator(is_one_line),
        AfterValidator(_is_token),
    ] = Field(description="The word that stands for it in prompts, such as <my-style>.")


Loras = Annotated[
    tuple[LoraSection, ...],
    Field(max_length=16, description="LoRAs to merge into the model, in this order; [] for none."),
]
TextualInversions = Annotated[
    tuple[TextualInversionSection, ...],
    Field(max_length=64, description="Learned words that prompts may use; [] for none."),
]
OtherVae = Annotated[
    PartSourceSection | None,
    Field(description="A VAE in place of the model's own, such as a tuned one; null for none."),
]
Additions = dict[str, PartSourceSection | BundledViewsSection]
