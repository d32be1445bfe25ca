"""The classes that a prior loads its denoiser and text encoders with.

They are the prior's own choice and not the directory's: a model built from them has the module
paths that what is merged later will meet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

from diffusers import (
    AuraFlowTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5EncoderModel,
    UMT5EncoderModel,
)

from dreamfusion_kit.priors.config.components import FLOW_TRANSFORMER, SD3, TRANSFORMERS, read_index
from dreamfusion_kit.priors.families.choose import family_of
from dreamfusion_kit.recipe import schema

Section = schema.LatentUnetSection | schema.FlowTransformerSection | schema.LatentTransformerSection

_UNET = {
    "denoiser": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
_SD3 = {
    "denoiser": SD3Transformer2DModel,
    "text_encoder": CLIPTextModelWithProjection,
    "text_encoder_2": CLIPTextModelWithProjection,
    "text_encoder_3": T5EncoderModel,
}
_AURA_FLOW = {"denoiser": AuraFlowTransformer2DModel, "text_encoder": UMT5EncoderModel}


def loaded_classes(section: Section, directory: Path) -> Mapping[str, Any]:
    """Return by component the class of diffusers or transformers that the prior reads it with."""
    match section:
        case schema.LatentUnetSection():
            return _UNET
        case schema.FlowTransformerSection():
            is_sd3 = read_index(directory, FLOW_TRANSFORMER)["transformer"] == SD3
            return _SD3 if is_sd3 else _AURA_FLOW
        case schema.LatentTransformerSection():
            family = family_of(read_index(directory, TRANSFORMERS)["transformer"])
            return {"denoiser": family.transformer_class, "text_encoder": family.encoder_class}
        case _:
            assert_never(section)
