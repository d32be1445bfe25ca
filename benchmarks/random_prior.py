"""A prior of published size whose weights are random: a step's time does not depend on them."""

import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from dreamfusion_kit.memory.architectures import Components, Config
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import unchecked_prior
from dreamfusion_kit.priors.families.choose import FAMILIES, family_of
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import LatentTransformerSection, Recipe
from dreamfusion_kit.seeding import generator


def random_prior(recipe: Recipe, parts: Components, device: torch.device) -> Prior:
    """Return the recipe's prior with random weights in place of those on disk."""
    with tempfile.TemporaryDirectory() as folder:
        prior: Any = unchecked_prior(recipe.prior, _skeleton(Path(folder), parts), device)
    section: Any = recipe.prior
    for name, config in parts.items():
        dtype = section.vae_dtype if name == "vae" else section.dtype
        model = _random_model(config, getattr(torch, dtype), device)
        if name == "vae":
            _drop_decoder(model, recipe, parts)
        if name == "unet":
            model = model.to(memory_format=torch.channels_last)
        # What the prior would read at its first use.
        setattr(prior, "_vae" if name == "vae" else "_denoiser", model)
    return prior


def _drop_decoder(vae: Any, recipe: Recipe, parts: Components) -> None:
    if isinstance(recipe.prior, LatentTransformerSection):
        family_of(parts["transformer"]["_class_name"]).drop_decoder(vae)
    else:
        del vae.decoder, vae.post_quant_conv


def _skeleton(directory: Path, parts: Components) -> Path:
    """Write what a prior reads before its weights: index, configurations, noise schedule."""
    index = {name: ["diffusers", config["_class_name"]] for name, config in parts.items()}
    encoders = _text_encoders(parts)
    index |= {name: ["transformers", class_name] for name, class_name in encoders.items()}
    for name in encoders:
        index[name.replace("text_encoder", "tokenizer")] = ["transformers", "any"]
    # PixArt's is a transformer, and its diffusion has betas.
    is_flow = "transformer" in parts and "PixArt" not in parts["transformer"]["_class_name"]
    scheduler = "FlowMatchEulerDiscreteScheduler" if is_flow else "DDPMScheduler"
    index["scheduler"] = ["diffusers", scheduler]
    getattr(diffusers, scheduler)().save_pretrained(directory / "scheduler")
    (directory / "model_index.json").write_text(json.dumps(index))
    for name, config in parts.items():
        (directory / name).mkdir()
        (directory / name / "config.json").write_text(json.dumps(config))
    return directory


def _text_encoders(parts: Components) -> dict[str, str]:
    """Return the classes that the prior expects in the index; none of them is loaded."""
    match parts.get("transformer", parts.get("unet", {})):
        case {"_class_name": "SD3Transformer2DModel"}:
            clip = "CLIPTextModelWithProjection"
            return {"text_encoder": clip, "text_encoder_2": clip}
        case {"_class_name": "AuraFlowTransformer2DModel"}:
            return {"text_encoder": "UMT5EncoderModel"}
        case {"addition_embed_type": "text_time"}:
            second = "CLIPTextModelWithProjection"
            return {"text_encoder": "CLIPTextModel", "text_encoder_2": second}
        case {"addition_embed_type": "text"}:
            return {"text_encoder": "T5EncoderModel"}
        case _:
            return {"text_encoder": "CLIPTextModel"}


def _random_model(config: Config, dtype: torch.dtype, device: torch.device) -> Any:
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # otherwise the largest model takes twice its memory
    try:
        with torch.device(device):
            model = getattr(diffusers, config["_class_name"]).from_config(public)
    finally:
        torch.set_default_dtype(default)
    for name, value in model.named_parameters():
        if name.endswith("pad_token"):  # empty, as read from disk
            nn.init.normal_(value)
    # Not with diffusers' own `to`, which warns about precision.
    return torch.nn.Module.to(model, dtype).eval().requires_grad_(False)


def random_text(recipe: Recipe, parts: Components, num_rows: int) -> TextFeatures:
    """Return features of the denoiser's width and the recipe's length, or a CLIP's."""
    draw = generator(0, "text")
    section = recipe.prior
    if isinstance(section, LatentTransformerSection):
        config = {**_defaults(parts["transformer"]), **parts["transformer"]}
        family = family_of(config["_class_name"])
        like = family.text_like(config, num_rows, section.text_tokens)
        return TextFeatures(
            {name: torch.randn(rows.shape, generator=draw) for name, rows in like.items()}
        )
    config = parts.get("transformer") or parts["unet"]
    widths = ("encoder_hid_dim", "joint_attention_dim", "cross_attention_dim")
    width = next(config[key] for key in widths if config.get(key))
    draw = generator(0, "text")
    tensors = {"hidden": torch.randn(num_rows, 77, width, generator=draw)}
    pooled = config.get("pooled_projection_dim")
    if config.get("addition_embed_type") == "text_time":
        times = 6 * config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - times
    if pooled:
        tensors["pooled"] = torch.randn(num_rows, pooled, generator=draw)
    return TextFeatures(tensors)


def _defaults(config: Config) -> dict[str, Any]:
    """Return the arguments that a class has where its configuration says nothing."""
    model_class = next(
        family.transformer_class
        for family in FAMILIES
        if family.transformer_class.__name__ == config["_class_name"]
    )
    parameters = inspect.signature(model_class.__init__).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}
