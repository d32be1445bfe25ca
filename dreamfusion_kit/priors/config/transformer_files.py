"""Whether the configurations of a `latent_transformer` directory can be read and fit together."""

from pathlib import Path
from typing import Any, assert_never

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.config.components import (
    FLOW_SCHEDULERS,
    TRANSFORMERS,
    read_component,
    read_config,
    read_index,
)
from dreamfusion_kit.priors.config.json_file import checked
from dreamfusion_kit.priors.config.schema import FlowSchedulerConfig, T5Config, VaeConfig
from dreamfusion_kit.priors.config.transformer_schema import (
    DcVaeConfig,
    Flux2Config,
    Flux2VaeConfig,
    LanguageModelConfig,
    PixArtConfig,
    QwenImageConfig,
    QwenVaeConfig,
    SanaConfig,
    TransformerConfig,
    VisionLanguageConfig,
    ZImageConfig,
)
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.recipe import schema

_CONFIGS: dict[str, type[TransformerConfig]] = {
    "Flux2Transformer2DModel": Flux2Config,
    "PixArtTransformer2DModel": PixArtConfig,
    "QwenImageTransformer2DModel": QwenImageConfig,
    "SanaTransformer2DModel": SanaConfig,
    "ZImageTransformer2DModel": ZImageConfig,
}
# FLUX.2 reads three layers of its text encoder side by side, the deepest of them the 27th.
_FLUX2_LAYERS, _FLUX2_DEEPEST = 3, 27
# A few samplers of a diffusion also step a flow, where their file says so.
_STEPS_A_FLOW = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")


def check_transformer(section: schema.LatentTransformerSection, directory: Path) -> None:
    """Raise WeightsError where the directory is not one of the families', or does not fit.

    RecipeError where the recipe's size is not a whole number of patches. The betas of one that
    is a diffusion (see `diffuses`) are not checked here.
    """
    config = read_transformer_config(directory)
    encoder = read_encoder_config(directory)
    channels, factor = _latents(directory, config)
    if config.in_channels != channels:
        raise _unfit(
            f"{directory.name}/transformer",
            f"reads {config.in_channels} channels",
            f"the {channels} of its VAE's latents: a model of text alone",
        )
    match config:
        case Flux2Config():
            width, side = _FLUX2_LAYERS * _hidden(encoder), factor
            is_t5 = isinstance(encoder, T5Config)
            depth = encoder.num_layers if is_t5 else encoder.num_hidden_layers
            if depth < _FLUX2_DEEPEST:
                raise _unfit(
                    f"{directory.name}/text_encoder",
                    f"has {depth} layers",
                    f"at least {_FLUX2_DEEPEST}, of which FLUX.2 reads the 9th, 18th and 27th",
                )
        case ZImageConfig() | QwenImageConfig():
            width, side = _hidden(encoder), 2 * factor
        case SanaConfig() | PixArtConfig():
            width, side = _hidden(encoder), config.patch_size * factor
        case _:
            assert_never(config)
    if config.text_width != width:
        raise _unfit(
            f"{directory.name}/transformer",
            f"reads text features of width {config.text_width}",
            f"the {width} that its text encoder gives",
        )
    if section.image_size_px % side:
        raise RecipeError(
            f"prior.image_size_px: found {section.image_size_px}, expected a multiple of {side}, "
            "the side of this model's patches; change the recipe"
        )
    if not diffuses(directory):
        _check_flow(directory)


def diffuses(directory: Path) -> bool:
    """Return whether the transformer is a diffusion's, with betas, and not a flow's."""
    return read_index(directory, TRANSFORMERS)["transformer"] == "PixArtTransformer2DModel"


def read_transformer_config(directory: Path) -> TransformerConfig:
    """Return the configuration of the transformer that the index names."""
    name = read_index(directory, TRANSFORMERS)["transformer"]
    place = f"{directory.name}/transformer/config.json"
    config = checked(_CONFIGS[name], read_config(directory, "transformer"), place)
    _check_class(place, config.class_name, name)
    return config


def read_encoder_config(
    directory: Path,
) -> LanguageModelConfig | VisionLanguageConfig | T5Config:
    """Return the configuration of the text encoder."""
    values: Any = read_config(directory, "text_encoder")
    place = f"{directory.name}/text_encoder/config.json"
    match values.get("model_type"):
        case "qwen2_5_vl":
            return checked(VisionLanguageConfig, values, place)
        case "t5":
            return checked(T5Config, values, place)
        case _:
            return checked(LanguageModelConfig, values, place)


def _latents(directory: Path, config: TransformerConfig) -> tuple[int, int]:
    """Return the channels that the VAE gives, and how many pixels a place of them covers."""
    values, place = read_config(directory, "vae"), f"{directory.name}/vae/config.json"
    match config:
        case Flux2Config():
            flux = checked(Flux2VaeConfig, values, place)
            _check_class(place, flux.class_name, "AutoencoderKLFlux2")
            return 4 * flux.latent_channels, 2 ** len(flux.block_out_channels)
        case QwenImageConfig():
            qwen = checked(QwenVaeConfig, values, place)
            _check_class(place, qwen.class_name, "AutoencoderKLQwenImage")
            return 4 * qwen.z_dim, 2 ** len(qwen.temperal_downsample)
        case SanaConfig():
            dc = checked(DcVaeConfig, values, place)
            _check_class(place, dc.class_name, "AutoencoderDC")
            return dc.latent_channels, 2 ** (len(dc.encoder_block_out_channels) - 1)
        case ZImageConfig() | PixArtConfig():
            kl = checked(VaeConfig, values, place)
            _check_class(place, kl.class_name, "AutoencoderKL")
            return kl.latent_channels, 2 ** (len(kl.block_out_channels) - 1)
        case _:
            assert_never(config)


def _check_flow(directory: Path) -> None:
    place = f"{directory.name}/scheduler/scheduler_config.json"
    values = read_component(directory, "scheduler", "scheduler_config.json")
    config = checked(FlowSchedulerConfig, values, place)
    if config.class_name in FLOW_SCHEDULERS:
        return
    if config.class_name not in _STEPS_A_FLOW or values.get("use_flow_sigmas") is not True:
        raise _unfit(
            place,
            f"is of a {printable(config.class_name, 80)}",
            f"{FLOW_SCHEDULERS[0]}, or a {' or '.join(_STEPS_A_FLOW)} with use_flow_sigmas",
        )


def _hidden(config: LanguageModelConfig | VisionLanguageConfig | T5Config) -> int:
    return config.d_model if isinstance(config, T5Config) else config.hidden_size


def _check_class(place: str, found: str, expected: str) -> None:
    if found != expected:
        raise _unfit(place, f"is of a {printable(found, 80)}", expected)


def _unfit(place: str, found: str, expected: str) -> WeightsError:
    return WeightsError(
        f"{place}: {found}; expected {expected}; choose another prior.source or prior.kind"
    )
