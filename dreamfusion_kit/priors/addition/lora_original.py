"""LoRAs of transformers by the names of the original repositories: FLUX.2's and Z-Image's.

Trainers that do not build on diffusers write them. They have query, key and value of an attention
in one layer, qkv: its `up` is three blocks of rows, and `down` is shared.
"""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

# A tensor of each role: see `lora_names.place_of`.
Matrices = Mapping[str, Tensor]

_FUSED = re.compile(r"(?P<start>.+_)(?P<attention>img_attn|txt_attn|attention)_qkv")
_PROJECTIONS = {
    "img_attn": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "txt_attn": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "attention": ("attention_to_q", "attention_to_k", "attention_to_v"),
}
_FLUX2_BLOCK = re.compile(r"(?P<kind>double|single)_blocks_(?P<number>\d+)_(?P<rest>.+)")
_FLUX2_DOUBLE = {
    "img_attn_proj": "attn_to_out_0",
    "txt_attn_proj": "attn_to_add_out",
    "img_mlp_0": "ff_linear_in",
    "img_mlp_2": "ff_linear_out",
    "txt_mlp_0": "ff_context_linear_in",
    "txt_mlp_2": "ff_context_linear_out",
}
_FLUX2_SINGLE = {"linear1": "attn_to_qkv_mlp_proj", "linear2": "attn_to_out"}
_Z_IMAGE_OUT = re.compile(r"((?:layers|noise_refiner|context_refiner)_\d+_attention)_out")


def in_diffusers_names(modules: Mapping[str, Matrices]) -> Iterator[tuple[str, Matrices]]:
    """Yield a denoiser's matrices by the modules of diffusers; those with its names stay."""
    for module, matrices in modules.items():
        for name, part in _apart(module, matrices):
            yield _renamed(name), part


def _apart(module: str, matrices: Matrices) -> Iterator[tuple[str, Matrices]]:
    """Yield query, key and value of a layer that holds all three, or what there is."""
    match = _FUSED.fullmatch(module)
    up = matrices.get("up")
    if match is None or (up is not None and len(up) % 3):
        yield module, matrices
        return
    blocks = (None,) * 3 if up is None else up.chunk(3)
    for name, block in zip(_PROJECTIONS[match["attention"]], blocks, strict=True):
        own = {} if block is None else {"up": block}
        yield match["start"] + name, {**matrices, **own}


def _renamed(module: str) -> str:
    block = _FLUX2_BLOCK.fullmatch(module)
    if block is None:
        return _Z_IMAGE_OUT.sub(r"\1_to_out_0", module)
    names, start = (
        (_FLUX2_DOUBLE, "transformer_blocks")
        if block["kind"] == "double"
        else (_FLUX2_SINGLE, "single_transformer_blocks")
    )
    return f"{start}_{block['number']}_{names.get(block['rest'], block['rest'])}"
