"""Whether a model's own files match what its prior can read, before anything uses them.

`check_model` is for `fetch`: a wrong model is refused there, rather than by a library's
traceback in a later stage. `check_configs` is its cheap part, which runs again whenever a
prior is built. Only JSON and vocabularies are read.
"""

from pathlib import Path
from typing import assert_never

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.config import components
from dreamfusion_kit.priors.config.component_config import (
    check_class,
    read_clip_config,
    read_mvdream_config,
    read_scheduler_config,
    read_text_config,
    read_unet_config,
    unfit,
)
from dreamfusion_kit.priors.config.components import (
    names_component,
    read_component,
    read_config,
    read_index,
)
from dreamfusion_kit.priors.config.distilled import refuse_distilled
from dreamfusion_kit.priors.config.json_file import checked
from dreamfusion_kit.priors.config.latent_side import check_transformer_side, check_unet_side
from dreamfusion_kit.priors.config.pixel_patch import patch_size
from dreamfusion_kit.priors.config.schema import (
    AuraFlowConfig,
    ClipTextConfig,
    FlowSchedulerConfig,
    Sd3Config,
    T5Config,
    VaeConfig,
)
from dreamfusion_kit.priors.config.transformer_files import (
    check_transformer,
    diffuses,
    read_encoder_config,
)
from dreamfusion_kit.priors.config.vocabulary import check_vocabulary
from dreamfusion_kit.recipe import schema

# What U-Nets with additional channels read beside the noisy latents.
_BESIDE_LATENTS = {
    5: "a depth map",
    7: "a picture to enlarge",
    8: "a picture to edit",
    9: "a masked picture, for inpainting",
}


def check_model(section: schema.PriorSection, directory: Path) -> None:
    """Raise WeightsError or RecipeError where the files cannot be the recipe's prior."""
    check_configs(section, directory)
    for tokenizer, vocab_size in _encoders(section, directory):
        check_vocabulary(tokenizer, vocab_size)


def check_configs(section: schema.PriorSection, directory: Path) -> None:
    """Check what the index and every component's configuration say, and that they fit."""
    if section.model == "diffusion" and section.source is not None:
        refuse_distilled(directory)
    match section:
        case schema.AnalyticSection():
            return
        case schema.ClipPriorSection():
            read_clip_config(directory)
        case schema.PixelUnetSection():
            _check_pixel_unet(section, directory)
        case schema.LatentUnetSection():
            _check_latent_unet(section, directory)
        case schema.MultiViewUnetSection():
            _check_multi_view_unet(section, directory)
        case schema.FlowTransformerSection():
            _check_flow_transformer(section, directory)
        case schema.LatentTransformerSection():
            check_transformer(section, directory)
            if diffuses(directory):
                read_scheduler_config(directory)
        case _:
            assert_never(section)


def check_clip(directory: Path) -> None:
    """Raise WeightsError where a CLIP's configuration or vocabulary is not one."""
    config = read_clip_config(directory)
    check_vocabulary(directory, config.text_config.vocab_size)


def _check_pixel_unet(section: schema.PixelUnetSection, directory: Path) -> None:
    classes = read_index(directory, components.PIXEL_UNET)
    read_scheduler_config(directory)
    unet = read_unet_config(directory)
    patch_size(directory, section.image_size_px)
    if unet.out_channels not in (unet.in_channels, 2 * unet.in_channels):
        raise unfit(
            f"{directory.name}/unet",
            f"returns {unet.out_channels} channels for {unet.in_channels}",
            "as many, or twice as many with a variance",
        )
    encoder = _text_encoder(directory, "text_encoder", classes["text_encoder"])
    _check_width(directory, "unet", unet.text_width, _width(encoder))


def _check_latent_unet(section: schema.LatentUnetSection, directory: Path) -> None:
    classes = read_index(directory, components.LATENT_UNET)
    read_scheduler_config(directory)
    unet = read_unet_config(directory)
    vae = _check_latents(directory, "unet", unet.in_channels, unet.out_channels)
    check_unet_side(section.image_size_px, vae, directory)
    width = _width(_text_encoder(directory, "text_encoder", classes["text_encoder"]))
    is_xl = names_component(directory, "text_encoder_2")
    if is_xl:
        classes = read_index(directory, components.SECOND_ENCODER)
        second = _text_encoder(directory, "text_encoder_2", classes["text_encoder_2"])
        width += _width(second)
    if (unet.addition_embed_type == "text_time") != is_xl:
        raise unfit(
            f"{directory.name}/unet",
            f"has addition_embed_type {unet.addition_embed_type!r}",
            "text_time with two text encoders, and nothing with one",
        )
    _check_width(directory, "unet", unet.text_width, width)


def _check_multi_view_unet(section: schema.MultiViewUnetSection, directory: Path) -> None:
    latent = section.vae_dtype is not None
    classes = read_index(directory, components.multi_view_components(latent=latent))
    read_scheduler_config(directory)
    is_mvdream = classes["unet"] == components.MVDREAM_UNET
    if is_mvdream == (section.view_weights is not None):
        raise RecipeError(
            f"prior.view_weights: found {'some' if is_mvdream else 'none'} with a "
            f"{classes['unet']}, expected {'none' if is_mvdream else 'some'}: "
            "a U-Net of a single view needs them, MVDream's has its own; change the recipe"
        )
    if is_mvdream:
        mvdream = read_mvdream_config(directory)
        in_channels, out_channels = mvdream.in_channels, mvdream.out_channels
        text_width = mvdream.context_dim
    else:
        unet = read_unet_config(directory)
        in_channels, out_channels = unet.in_channels, unet.out_channels
        text_width = unet.text_width
    if latent:
        vae = _check_latents(directory, "unet", in_channels, out_channels)
        check_unet_side(section.image_size_px, vae, directory)
    else:
        patch_size(directory, section.image_size_px)
        if out_channels != in_channels:
            raise unfit(
                f"{directory.name}/unet", f"returns {out_channels} channels", f"{in_channels}"
            )
    width = _width(_text_encoder(directory, "text_encoder", classes["text_encoder"]))
    _check_width(directory, "unet", text_width, width)


def _check_flow_transformer(section: schema.FlowTransformerSection, directory: Path) -> None:
    name = read_index(directory, components.FLOW_TRANSFORMER)["transformer"]
    place = f"{directory.name}/scheduler/scheduler_config.json"
    scheduler = checked(
        FlowSchedulerConfig,
        read_component(directory, "scheduler", "scheduler_config.json"),
        place,
    )
    check_class(place, scheduler.class_name, components.FLOW_SCHEDULERS)
    place, values = (
        f"{directory.name}/transformer/config.json",
        read_config(directory, "transformer"),
    )
    if name == components.AURA_FLOW:
        if not section.t5_enabled:
            raise RecipeError(
                "prior.t5_enabled: found false, expected true: AuraFlow has no other text "
                "encoder; change the recipe"
            )
        config = checked(AuraFlowConfig, values, place)
        check_class(place, config.class_name, (name,))
        classes = read_index(directory, components.AURA_FLOW_ENCODERS)
        t5 = _text_encoder(directory, "text_encoder", classes["text_encoder"])
        out_channels = config.in_channels if config.out_channels is None else config.out_channels
        _check_width(directory, "transformer", config.joint_attention_dim, _width(t5))
    else:
        config = checked(Sd3Config, values, place)
        check_class(place, config.class_name, (name,))
        out_channels = config.out_channels
        _check_sd3_encoders(section, directory, config)
    vae = _check_latents(directory, "transformer", config.in_channels, out_channels)
    check_transformer_side(section.image_size_px, vae, config, directory)


def _check_sd3_encoders(
    section: schema.FlowTransformerSection, directory: Path, config: Sd3Config
) -> None:
    classes = read_index(directory, components.SD3_ENCODERS)
    pooled = 0
    for folder in ("text_encoder", "text_encoder_2"):
        encoder = _text_encoder(directory, folder, classes[folder])
        assert isinstance(encoder, ClipTextConfig)
        pooled += encoder.projection_dim
    if pooled != config.pooled_projection_dim:
        raise unfit(
            f"{directory.name}/transformer",
            f"reads {config.pooled_projection_dim} pooled text features",
            f"the {pooled} of its two CLIPs",
        )
    if section.t5_enabled:
        classes = read_index(directory, components.SD3_T5)
        t5 = _text_encoder(directory, "text_encoder_3", classes["text_encoder_3"])
        _check_width(directory, "transformer", config.joint_attention_dim, _width(t5))


def _check_latents(directory: Path, folder: str, in_channels: int, out_channels: int) -> VaeConfig:
    """Return the VAE's configuration once the denoiser reads and returns its latents."""
    place = f"{directory.name}/vae/config.json"
    vae = checked(VaeConfig, read_config(directory, "vae"), place)
    check_class(place, vae.class_name, ("AutoencoderKL",))
    if in_channels != vae.latent_channels:
        beside = _BESIDE_LATENTS.get(in_channels) if vae.latent_channels == 4 else None
        hint = f" (it also reads {beside})" if beside else ""
        raise unfit(
            f"{directory.name}/{folder}",
            f"reads {in_channels} channels{hint}",
            f"the {vae.latent_channels} of its VAE's latents: a model of text alone",
        )
    if out_channels != in_channels:
        raise unfit(
            f"{directory.name}/{folder}", f"returns {out_channels} channels", f"{in_channels}"
        )
    return vae


def _text_encoder(directory: Path, folder: str, class_name: str) -> ClipTextConfig | T5Config:
    config = read_text_config(directory, folder)
    expected = {"T5EncoderModel": "t5", "UMT5EncoderModel": "umt5"}
    if config.model_type != expected.get(class_name, "clip_text_model"):
        raise unfit(
            f"{directory.name}/{folder}/config.json",
            f"is of model_type {config.model_type}",
            f"that of the index, {class_name}",
        )
    return config


def _width(config: ClipTextConfig | T5Config) -> int:
    return config.d_model if isinstance(config, T5Config) else config.hidden_size


def _check_width(directory: Path, folder: str, reads: int, given: int) -> None:
    if reads != given:
        raise unfit(
            f"{directory.name}/{folder}",
            f"reads text features of width {reads}",
            f"the {given} that its text encoders give",
        )


def _encoders(section: schema.PriorSection, directory: Path) -> list[tuple[Path, int]]:
    """Return each tokenizer's folder, and how many tokens its encoder knows."""
    match section:
        case schema.AnalyticSection():
            return []
        case schema.ClipPriorSection():
            return [(directory, read_clip_config(directory).text_config.vocab_size)]
        case schema.LatentTransformerSection():
            return [(directory / "tokenizer", read_encoder_config(directory).vocab_size)]
        case schema.MultiViewUnetSection():
            suffixes = [""]
        case schema.PixelUnetSection() | schema.LatentUnetSection():
            suffixes = ["", "_2"]
        case schema.FlowTransformerSection():
            suffixes = ["", "_2", *(["_3"] if section.t5_enabled else [])]
        case _:
            assert_never(section)
    return [
        (
            directory / f"tokenizer{suffix}",
            read_text_config(directory, f"text_encoder{suffix}").vocab_size,
        )
        for suffix in suffixes
        if names_component(directory, f"text_encoder{suffix}")
    ]
