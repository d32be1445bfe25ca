"""Single-file Stable Diffusions, written here from tiny pipelines with names of our own spelling.

The writer goes the other way round than the kit and shares no code with it or with diffusers:
it maps each diffusers name to the original one by the position of its module.
"""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ..conftest import save_all  # noqa: TID252

VOCABULARY = 49408
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original_unet_name(name: str, levels: int) -> str:
    """Two layers a level: input block 1 + 3 level + layer, downsampler last; mirrored going up."""
    parts = name.split(".")
    rest = ".".join(parts[1:])
    match parts:
        case ["conv_in", leaf]:
            return f"input_blocks.0.0.{leaf}"
        case ["conv_norm_out", leaf]:
            return f"out.0.{leaf}"
        case ["conv_out", leaf]:
            return f"out.2.{leaf}"
        case ["time_embedding", layer, leaf]:
            return f"time_embed.{'0' if layer == 'linear_1' else '2'}.{leaf}"
        case ["add_embedding", layer, leaf]:
            return f"label_emb.0.{'0' if layer == 'linear_1' else '2'}.{leaf}"
        case ["mid_block", kind, index, *inner]:
            place = "1" if kind == "attentions" else str(2 * int(index))
            return f"middle_block.{place}.{inner_name(kind, inner)}"
        case ["down_blocks", level, "downsamplers", _, _, leaf]:
            return f"input_blocks.{3 * int(level) + 3}.0.op.{leaf}"
        case ["down_blocks", level, kind, layer, *inner]:
            block = 3 * int(level) + 1 + int(layer)
            return f"input_blocks.{block}.{int(kind == 'attentions')}.{inner_name(kind, inner)}"
        case ["up_blocks", level, "upsamplers", _, _, leaf]:
            # After the attention where the level has one.
            after = 2 if has_attention(name, levels) else 1
            return f"output_blocks.{3 * int(level) + 2}.{after}.conv.{leaf}"
        case ["up_blocks", level, kind, layer, *inner]:
            block = 3 * int(level) + int(layer)
            return f"output_blocks.{block}.{int(kind == 'attentions')}.{inner_name(kind, inner)}"
    raise AssertionError(rest)


def has_attention(name: str, levels: int) -> bool:
    """SD 1 and 2 (four levels) have none in the lowest level, SDXL (three) none in the highest."""
    level = int(name.split(".")[1])
    return level > 0 if levels == 4 else level < 2


def inner_name(kind: str, inner: list[str]) -> str:
    if kind == "attentions":
        return ".".join(inner)
    return ".".join([RESNET[inner[0]], *inner[1:]])


def original_vae_name(name: str, levels: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(
        r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name
    )
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v"}
    attention |= {"to_out.0": "proj_out"}
    for new, old in attention.items():
        name = name.replace(f"mid_block.attentions.0.{new}.", f"mid.attn_1.{old}.")
    return name


def original_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in vae.state_dict().items():
        renamed = original_vae_name(name, len(vae.config["block_out_channels"]))
        # The attention was a 1x1 convolution.
        is_convolution = "attn_1" in renamed and tensor.ndim == 2
        found[renamed] = tensor[:, :, None, None].clone() if is_convolution else tensor
    return found


def open_clip(encoder: Any) -> dict[str, Tensor]:
    """OpenCLIP keeps query, key and value in one matrix, and the projection transposed."""
    state = {name.removeprefix("text_model."): rows for name, rows in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    if "text_projection.weight" in state:
        found["text_projection"] = state["text_projection.weight"].T.contiguous()
    else:
        found["text_projection"] = torch.eye(len(state["final_layer_norm.bias"]))
    plain = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc"}
    plain |= {"mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
    for index in range(encoder.config.num_hidden_layers):
        layer, block = f"encoder.layers.{index}.", f"transformer.resblocks.{index}."
        for leaf in ("weight", "bias"):
            for new, old in plain.items():
                found[f"{block}{old}.{leaf}"] = state[f"{layer}{new}.{leaf}"]
            found[f"{block}attn.in_proj_{leaf}"] = torch.cat(
                [state[f"{layer}self_attn.{part}_proj.{leaf}"] for part in "qkv"]
            )
    return found


def text_encoder(model_class: Any, layers: int, act: str) -> Any:
    return model_class(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=1,
            projection_dim=64,
            hidden_act=act,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
        )
    )


def unet(family: str) -> UNet2DConditionModel:
    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    if family == "sdxl":
        down = (plain, cross, cross)
        keys: dict[str, Any] = {
            "block_out_channels": (64,) * 3,
            "transformer_layers_per_block": (1, 2, 3),
            "cross_attention_dim": 128,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64 + 6 * 8,
        }
    else:
        down = (cross, cross, cross, plain)
        keys = {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 64}
        if family == "sd21":
            keys["block_out_channels"] = (64,) * 4
    up = tuple(kind.replace("Down", "Up") for kind in reversed(down))
    if family == "sd15":
        keys["attention_head_dim"] = 8
    else:
        heads = (1,) * len(down)
        keys |= {"attention_head_dim": heads, "use_linear_projection": True}
    return UNet2DConditionModel(
        sample_size=8, layers_per_block=2, down_block_types=down, up_block_types=up, **keys
    )


def write_single_file(directory: Path, family: str, **extra: Tensor) -> Path:
    """Save a tiny pipeline of `family` as a directory, and the same as one file; return that."""
    torch.manual_seed(0)
    scale = 0.13025 if family == "sdxl" else 0.18215
    denoiser = unet(family)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        scaling_factor=scale,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if family == "sd21" else "epsilon",
    )
    components: dict[str, Any] = {"unet": denoiser, "vae": vae, "scheduler": scheduler}
    levels = len(denoiser.config["block_out_channels"])
    tensors = {
        f"model.diffusion_model.{original_unet_name(name, levels)}": rows
        for name, rows in denoiser.state_dict().items()
    }
    tensors |= {f"first_stage_model.{name}": rows for name, rows in original_vae(vae).items()}
    if family == "sd21":
        whole = text_encoder(CLIPTextModel, 3, "gelu")  # its last layer is never read
        read = text_encoder(CLIPTextModel, 2, "gelu")
        read.load_state_dict(whole.state_dict(), strict=False)
        components["text_encoder"] = read
        prefix = "cond_stage_model.model."
        tensors |= {f"{prefix}{name}": rows for name, rows in open_clip(whole).items()}
    else:
        first = text_encoder(CLIPTextModel, 2, "quick_gelu")
        of_xl = family == "sdxl"
        prefix = f"{'conditioner.embedders.0' if of_xl else 'cond_stage_model'}.transformer."
        for name, rows in first.state_dict().items():
            tensors[f"{prefix}text_model.{name.removeprefix('text_model.')}"] = rows
        tensors[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77)[None]
        components["text_encoder"] = first
    if family == "sdxl":
        second = text_encoder(CLIPTextModelWithProjection, 3, "gelu")
        components["text_encoder_2"] = second
        prefix = "conditioner.embedders.1.model."
        tensors |= {f"{prefix}{name}": rows for name, rows in open_clip(second).items()}
    save_all(directory / "directory", components, force_zeros_for_empty_prompt=family == "sdxl")
    file = directory / f"{family}.safetensors"
    tensors = {name: rows.clone().contiguous() for name, rows in tensors.items()} | extra
    save_file(tensors, file)
    return file
