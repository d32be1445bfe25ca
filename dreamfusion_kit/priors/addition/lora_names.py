"""Where each tensor of a LoRA's file belongs, by its name.

kohya's layout names a module by its path with underscores behind `lora_unet_`, `lora_te_`,
`lora_te1_` or `lora_te2_`; in SDXL's files the paths are those of the original repository.
diffusers' has the path itself behind `unet.`, `transformer.` or `text_encoder.`.
"""

import re
from types import SimpleNamespace
from typing import Any

from diffusers.loaders import lora_conversion_utils
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

_LIBRARY: Any = lora_conversion_utils  # its table of blocks has no public name
_KOHYA = {
    "lora_unet_": "denoiser",
    "lora_transformer_": "denoiser",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
DIFFUSERS = {
    "unet.": "denoiser",
    "transformer.": "denoiser",
    "diffusion_model.": "denoiser",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
_ROLES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
# What the original repository calls the parts of a U-Net.
_WORDS = {
    "_input_blocks_0_0": "_conv_in",
    "_input_blocks_": "_down_blocks_",
    "_middle_block_": "_mid_block_",
    "_output_blocks_": "_up_blocks_",
    "_in_layers_2": "_conv1",
    "_out_layers_3": "_conv2",
    "_emb_layers_1": "_time_emb_proj",
    "_skip_connection": "_conv_shortcut",
    "_downsamplers_0_op": "_downsamplers_0_conv",
    "_time_embed_0": "_time_embedding_linear_1",
    "_time_embed_2": "_time_embedding_linear_2",
    "_label_emb_0_0": "_add_embedding_linear_1",
    "_label_emb_0_2": "_add_embedding_linear_2",
    "lora_unet_out_2": "lora_unet_conv_out",
}
# Older diffusers files name the attention's processor, and its output without a number.
_PROCESSOR = re.compile(r"\.processor(?=\.)")


def renamed(
    tensors: dict[str, Tensor], layers_per_block: int | None, name: str
) -> dict[str, Tensor]:
    """Return a U-Net's tensors by diffusers' names of its parts, whichever the file has.

    Raises WeightsError for blocks that no U-Net has, and for a file that mixes both namings.
    """
    if layers_per_block is None or not any(key.startswith("lora_unet_") for key in tensors):
        return tensors
    try:
        # The library's own table between the original repository's blocks and diffusers'.
        counted = _LIBRARY._maybe_map_sgm_blocks_to_diffusers(
            dict(tensors), SimpleNamespace(layers_per_block=layers_per_block)
        )
    except (ValueError, IndexError, KeyError) as error:
        raise WeightsError(
            f"{name}: names blocks that no U-Net has ({printable(str(error), 120)}); expected "
            "kohya's or diffusers' layout; choose another file"
        ) from None
    found = {_in_diffusers_words(key): tensor for key, tensor in counted.items()}
    if len(found) != len(tensors):
        # The library drops the original repository's names where a file has both.
        raise WeightsError(
            f"{name}: names blocks of the U-Net in two ways, such as input_blocks and down_blocks "
            f"({len(tensors)} tensors have {len(found)} places); expected one layout; save it "
            "again with its trainer"
        )
    return found


def _in_diffusers_words(key: str) -> str:
    """Return a key of the U-Net with the original repository's words for its parts replaced."""
    if key.startswith("lora_unet_"):
        for theirs, ours in _WORDS.items():
            key = key.replace(theirs, ours)
    return key


def place_of(key: str, name: str) -> tuple[str, str, str]:
    """Return a tensor's component, its module with underscores, and its role."""
    for ending, role in _ROLES.items():
        if key.endswith(ending):
            path = key.removesuffix(ending)
            for start, component in _KOHYA.items():
                if path.startswith(start):
                    return component, path.removeprefix(start), role
            for start, component in DIFFUSERS.items():
                if path.startswith(start):
                    module = _PROCESSOR.sub("", path.removeprefix(start))
                    module = module.removeprefix("base_model.model.")
                    return component, module.replace(".", "_"), role
    raise WeightsError(
        f"{name}: has {printable(key, 80)}, which is not a tensor of a LoRA in kohya's or "
        "diffusers' layout; expected two matrices a layer; choose another file"
    )
