"""Guidance: how a prior and a rendered view become a gradient on that view.

Each guidance class states what that kind asks for:

    model           the kind of model that the recipe's prior has to be
    other_texts     the texts that it reads beside the views', by what they are for
    plain_prompt    whether it reads the prompt without words for the view as well
    num_texts       how many texts per image one call of the denoiser reads
    compares_texts  whether it is 0 for a model that ignores the text
    adapter_rank    rank of the second denoiser trained beside the field; None without one
    phi_source      where its weights come from if not from the prior; None otherwise
    lighter         the keys that cost memory, each with a cheaper value to try
"""

from typing import Annotated

from pydantic import Field

from dreamfusion_kit.recipe.schema.guidance.base import (
    NEGATIVE,
    PLAIN,
    UNCONDITIONAL,
    ScoreGuidanceSection,
)
from dreamfusion_kit.recipe.schema.guidance.clip import ClipGuidanceSection
from dreamfusion_kit.recipe.schema.guidance.csd import CsdSection
from dreamfusion_kit.recipe.schema.guidance.ism import IsmSection
from dreamfusion_kit.recipe.schema.guidance.perp_neg import PerpNegSection
from dreamfusion_kit.recipe.schema.guidance.rfds_rev import RfdsRevSection
from dreamfusion_kit.recipe.schema.guidance.sdi import SdiSection
from dreamfusion_kit.recipe.schema.guidance.sds import SdsSection
from dreamfusion_kit.recipe.schema.guidance.sjc import SjcSection
from dreamfusion_kit.recipe.schema.guidance.view_prompts import ViewPromptsSection
from dreamfusion_kit.recipe.schema.guidance.vsd import PhiSection, VsdSection
from dreamfusion_kit.recipe.schema.guidance.x0_reconstruction import X0ReconstructionSection

GuidanceSection = Annotated[
    SdsSection
    | SjcSection
    | CsdSection
    | VsdSection
    | IsmSection
    | SdiSection
    | RfdsRevSection
    | X0ReconstructionSection
    | ClipGuidanceSection,
    Field(discriminator="kind"),
]

__all__ = [
    "NEGATIVE",
    "PLAIN",
    "UNCONDITIONAL",
    "ClipGuidanceSection",
    "CsdSection",
    "GuidanceSection",
    "IsmSection",
    "PerpNegSection",
    "PhiSection",
    "RfdsRevSection",
    "ScoreGuidanceSection",
    "SdiSection",
    "SdsSection",
    "SjcSection",
    "ViewPromptsSection",
    "VsdSection",
    "X0ReconstructionSection",
]
