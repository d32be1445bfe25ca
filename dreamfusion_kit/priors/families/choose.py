"""The family of a transformer, by the class that a directory's index names."""

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.families.base import Family
from dreamfusion_kit.priors.families.flux2_klein import Flux2Klein
from dreamfusion_kit.priors.families.pixart_sigma import PixArtSigma
from dreamfusion_kit.priors.families.qwen_image import QwenImage
from dreamfusion_kit.priors.families.sana import Sana
from dreamfusion_kit.priors.families.z_image import ZImage


def family_of(class_name: str) -> Family:
    """Return the family whose transformer is a `class_name`."""
    match class_name:
        case "Flux2Transformer2DModel":
            return Flux2Klein()
        case "PixArtTransformer2DModel":
            return PixArtSigma()
        case "QwenImageTransformer2DModel":
            return QwenImage()
        case "SanaTransformer2DModel":
            return Sana()
        case "ZImageTransformer2DModel":
            return ZImage()
        case _:
            raise WeightsError(f"prior.source: no family has a {class_name}")
