"""The family of a transformer, by the class that a directory's index names."""

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.families.base import Family
from dreamfusion_kit.priors.families.flux2_klein import Flux2Klein
from dreamfusion_kit.priors.families.pixart_sigma import PixArtSigma
from dreamfusion_kit.priors.families.qwen_image import QwenImage
from dreamfusion_kit.priors.families.sana import Sana
from dreamfusion_kit.priors.families.z_image import ZImage

FAMILIES: tuple[Family, ...] = (Flux2Klein(), PixArtSigma(), QwenImage(), Sana(), ZImage())


def family_of(class_name: str) -> Family:
    """Return the family whose transformer is a `class_name`."""
    for family in FAMILIES:
        if family.transformer_class.__name__ == class_name:
            return family
    names = ", ".join(family.transformer_class.__name__ for family in FAMILIES)
    raise WeightsError(
        f"prior.source: its transformer is a {class_name}; expected one of {names}; choose "
        "another prior.source or prior.kind"
    )
