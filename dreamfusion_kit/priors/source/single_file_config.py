"""What the names and shapes in a single-file Stable Diffusion say about its architecture.

The original repositories kept this in a YAML file beside the weights. Widths, depths and
channels follow from shapes. Three facts do not, and are those of the published models: SD 1's
U-Net has 8 heads, all others have heads of 64 channels, and so have all text encoders. What the
U-Net predicts is not in the file either, so the recipe says it.
"""

import re
from collections.abc import Mapping
from typing import Any

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_CLIP_1 = "cond_stage_model.transformer."
_OPEN_CLIP_2 = "cond_stage_model.model."
_CLIP_XL, _OPEN_CLIP_XL = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
_REFINER = "conditioner.embedders.0.model."
_HEAD = 64
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
# Communities mark what the file itself cannot say with empty tensors of these names.
_V_MARK, _ZERO_SNR_MARK = "v_pred", "ztsnr"
# What is stored beside weights of 4 or 8 bits, without which they mean something else.
_SCALES = ("scale_weight", "weight_scale", "quant_map", "absmax", "scaled_fp8", "comfy_quant")


def encoders(shapes: Shapes) -> list[tuple[str, str, bool]]:
    """Return each text encoder's folder, prefix in the file, and whether it is OpenCLIP's."""
    found = [
        ("text_encoder", _CLIP_1, False),
        ("text_encoder", _OPEN_CLIP_2, True),
        ("text_encoder", _CLIP_XL, False),
        ("text_encoder_2", _OPEN_CLIP_XL, True),
    ]
    return [entry for entry in found if _has(shapes, entry[1])]


def block_of(name: str) -> int:
    """Return the number of the OpenCLIP block that a tensor belongs to; -1 for the others."""
    match = _BLOCK.match(name)
    return int(match.group(1)) if match else -1


def read_configs(shapes: Shapes, place: str, prediction_type: str) -> dict[str, Config]:
    """Return each component's configuration. Raises WeightsError for files of another layout."""
    _check_whole(shapes, place)
    if _V_MARK in shapes and prediction_type != "v_prediction":
        raise WeightsError(
            f"{place}: is marked as a model of v_prediction; expected that in "
            "prior.source.prediction_type; change the recipe"
        )
    is_xl = _has(shapes, _CLIP_XL)
    try:
        configs = {
            folder: _text_config(shapes, prefix, folder, is_open_clip=is_open_clip)
            for folder, prefix, is_open_clip in encoders(shapes)
        }
        configs["unet"] = _unet_config(shapes, configs, place)
        configs["vae"] = _vae_config(shapes, is_xl=is_xl)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{place}: lacks what an SD 1, SD 2 or SDXL file has ({error}); expected one of these "
            "in the original layout; choose another prior.source"
        ) from None
    configs["scheduler"] = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": prediction_type,
        "rescale_betas_zero_snr": _ZERO_SNR_MARK in shapes,
    }
    return configs


def _check_whole(shapes: Shapes, place: str) -> None:
    if _has(shapes, _REFINER):
        raise WeightsError(
            f"{place}: is SDXL's refiner, which only removes the last noise of a picture; expected "
            "a base model; choose another prior.source"
        )
    if any(name.startswith(UNET) and "cond_proj" in name for name in shapes):
        raise WeightsError(
            f"{place}: its U-Net reads the guidance scale (cond_proj): distilled for guidance; "
            "expected a base model with an unconditional prediction; choose another prior.source"
        )
    scales = [name for name in shapes if name.endswith(_SCALES)]
    if scales:
        raise WeightsError(
            f"{place}: its weights are quantized ({printable(scales[0], 80)}); expected plain "
            "floats of 16 or 32 bits; choose the model that it was made from"
        )
    is_xl = _has(shapes, _CLIP_XL) or _has(shapes, _OPEN_CLIP_XL)
    parts = {
        "U-Net": _has(shapes, UNET),
        "VAE": _has(shapes, VAE),
        "text encoder": bool(encoders(shapes)),
        "first text encoder": not is_xl or _has(shapes, _CLIP_XL),
        "second text encoder": not is_xl or _has(shapes, _OPEN_CLIP_XL),
    }
    missing = [name for name, there in parts.items() if not there]
    if missing:
        raise WeightsError(
            f"{place}: holds no {' and no '.join(missing)} under the names of the original "
            "repositories; expected a whole SD 1.5, SD 2.1 or SDXL in one file; use a diffusers "
            "directory for other models, prior.loras for a LoRA and prior.vae for a VAE"
        )


def _unet_config(shapes: Shapes, configs: Mapping[str, Config], place: str) -> Config:
    unet = {name.removeprefix(UNET): shape for name, shape in shapes.items()}
    stem = unet["input_blocks.0.0.weight"]
    widths, depths, per_level = _levels(unet)
    is_linear = len(unet[_first(unet, "proj_in.weight")]) == 2
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 128 if "text_encoder_2" in configs else 64,
        "in_channels": stem[1],
        "out_channels": unet["out.2.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": per_level,
        "down_block_types": ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(depths)],
        # The middle block has the depth of the last entry.
        "transformer_layers_per_block": [
            *(max(depth, 1) for depth in depths[:-1]),
            _depth(unet, "middle_block.1."),
        ],
        "cross_attention_dim": unet[_first(unet, "attn2.to_k.weight")][1],
        "attention_head_dim": [width // _HEAD for width in widths] if is_linear else 8,
        "use_linear_projection": is_linear,
    }
    classes = unet.get("label_emb.0.0.weight")
    if classes is None:
        return config
    if "text_encoder_2" not in configs:
        raise WeightsError(
            f"{place}: its U-Net also reads a class or a picture's embedding; expected a model of "
            "text alone; choose another prior.source"
        )
    pooled = configs["text_encoder_2"]["projection_dim"]
    return config | {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (classes[1] - pooled) // 6,
        "projection_class_embeddings_input_dim": classes[1],
    }


def _first(shapes: Shapes, ending: str) -> str:
    """Return the first name that ends so; KeyError where there is none."""
    found = [name for name in shapes if name.endswith(ending)]
    if not found:
        raise KeyError(ending)
    return found[0]


def _levels(unet: Shapes) -> tuple[list[int], list[int], int]:
    """Return each level's width and depth of transformers, and the layers of one level."""
    widths, depths, layers = [0], [0], [0]
    index = 1
    while any(name.startswith(f"input_blocks.{index}.") for name in unet):
        if f"input_blocks.{index}.0.op.weight" in unet:
            widths, depths, layers = [*widths, 0], [*depths, 0], [*layers, 0]
        else:
            widths[-1] = unet[f"input_blocks.{index}.0.out_layers.3.weight"][0]
            depths[-1] = _depth(unet, f"input_blocks.{index}.1.")
            layers[-1] += 1
        index += 1
    return widths, depths, layers[0]


def _depth(unet: Shapes, prefix: str) -> int:
    start = f"{prefix}transformer_blocks."
    return len({name[len(start) :].split(".")[0] for name in unet if name.startswith(start)})


def _vae_config(shapes: Shapes, *, is_xl: bool) -> Config:
    widths: list[int] = []
    while (name := f"{VAE}encoder.down.{len(widths)}.block.0.conv2.weight") in shapes:
        widths.append(shapes[name][0])
    count = len({n.split(".")[5] for n in shapes if n.startswith(f"{VAE}encoder.down.0.block.")})
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "layers_per_block": count,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "latent_channels": shapes[f"{VAE}post_quant_conv.weight"][1],
        "sample_size": 1024 if is_xl else 512,
        "scaling_factor": 0.13025 if is_xl else 0.18215,
    }


def _text_config(shapes: Shapes, prefix: str, folder: str, *, is_open_clip: bool) -> Config:
    # A word's embedding, a place's, the first layer of an MLP, and the number of layers.
    own = {name.removeprefix(prefix): s for name, s in shapes.items() if name.startswith(prefix)}
    if is_open_clip:
        words, places = own["token_embedding.weight"], own["positional_embedding"]
        hidden = own["transformer.resblocks.0.mlp.c_fc.weight"][0]
        # SD 2 reads the layer before the last, so the last one is left out, as in its directory.
        layers = 1 + max(map(block_of, own)) - (folder == "text_encoder")
        width = own["text_projection"][1] if "text_projection" in own else words[1]
    else:
        own = {name.removeprefix("text_model."): shape for name, shape in own.items()}
        words = own["embeddings.token_embedding.weight"]
        places = own["embeddings.position_embedding.weight"]
        hidden = own["encoder.layers.0.mlp.fc1.weight"][0]
        layers = len({n.split(".")[2] for n in own if n.startswith("encoder.layers.")})
        width = words[1]
    with_projection = folder == "text_encoder_2"
    return {
        "architectures": ["CLIPTextModelWithProjection" if with_projection else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": words[0],
        "hidden_size": words[1],
        "intermediate_size": hidden,
        "projection_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": words[1] // _HEAD,
        "max_position_embeddings": places[0],
        "hidden_act": "gelu" if is_open_clip else "quick_gelu",
        "bos_token_id": words[0] - 2,
        "eos_token_id": words[0] - 1,
        "pad_token_id": 0 if is_open_clip else words[0] - 1,
    }


def _has(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)
