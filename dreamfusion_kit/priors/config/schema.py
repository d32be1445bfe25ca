"""What a model's own configuration files may say, in bounds that every published one keeps.

Keys that decide a shape, a schedule or a loop are read; the rest are left to the libraries.
Where a key is optional, the libraries' classes have the same default and published files omit
it. A wrong bound costs one line and a commit; an unbounded one hangs or dies in the libraries.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_MAX_TIMESTEPS = 100_000

Width = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[int, Field(ge=1, le=256)]
Depth = Annotated[int, Field(ge=0, le=256)]  # number of transformers in a block, possibly none
Blocks = Annotated[list[Width], Field(min_length=1, max_length=16)]
Names = Annotated[list[str], Field(min_length=1, max_length=16)]


class _Config(BaseModel):
    model_config = ConfigDict(strict=True, populate_by_name=True)


class DiffusersConfig(_Config):
    """A component of diffusers, which says its class."""

    class_name: str = Field(alias="_class_name")


def _one_or_many(value: Any) -> Any:
    """Wrap a single number in a list: diffusers takes one for all blocks, or one for each."""
    return value if isinstance(value, list) else [value]


Widths = Annotated[Blocks, BeforeValidator(_one_or_many)]
LayersOfBlocks = Annotated[
    list[Layers], BeforeValidator(_one_or_many), Field(min_length=1, max_length=16)
]
Depths = Annotated[
    list[Depth | Annotated[list[Depth], Field(max_length=256)]],
    BeforeValidator(_one_or_many),
    Field(min_length=1, max_length=16),
]


class UnetConfig(DiffusersConfig):
    """A `UNet2DConditionModel`."""

    in_channels: Width
    out_channels: Width
    sample_size: Side
    block_out_channels: Blocks
    cross_attention_dim: Widths
    down_block_types: Names
    up_block_types: Names
    layers_per_block: LayersOfBlocks = [2]
    transformer_layers_per_block: Depths = [1]
    reverse_transformer_layers_per_block: Depths | None = None
    attention_head_dim: Widths = [8]
    norm_num_groups: Width | None = 32
    encoder_hid_dim: Width | None = None
    encoder_hid_dim_type: Literal["text_proj"] | None = None
    # Others read an image beside the text, or a class instead of it.
    addition_embed_type: Literal["text", "text_time"] | None = None
    addition_embed_type_num_heads: Width = 64
    addition_time_embed_dim: Width | None = None
    projection_class_embeddings_input_dim: Width | None = None
    class_embed_type: None = None
    num_class_embeds: None = None
    # A model that reads the guidance scale has no unconditional prediction.
    time_cond_proj_dim: None = None

    @property
    def text_width(self) -> int:
        """Return the width of the text features that it reads."""
        return self.encoder_hid_dim or self.cross_attention_dim[0]

    @model_validator(mode="after")
    def _blocks_match(self) -> "UnetConfig":
        counts = {len(self.block_out_channels), len(self.down_block_types)}
        if counts != {len(self.up_block_types)}:
            raise ValueError("as many down_block_types, up_block_types and block_out_channels")
        return self


class MvdreamUnetConfig(DiffusersConfig):
    """MVDream's `MultiViewUNetModel`; ImageDream's, which also reads a picture, is refused."""

    image_size: Side
    in_channels: Width
    out_channels: Width
    model_channels: Width
    channel_mult: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(max_length=8)]
    num_res_blocks: Layers
    attention_resolutions: Annotated[list[Width], Field(min_length=1, max_length=16)]
    num_head_channels: Width
    transformer_depth: Layers
    context_dim: Width
    camera_dim: Literal[16]
    ip_dim: Literal[0] = 0

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> "MvdreamUnetConfig":
        widths = [self.model_channels * factor for factor in self.channel_mult]
        if not widths or any(width % self.num_head_channels for width in widths):
            raise ValueError("channel_mult, and widths that num_head_channels divides")
        return self


class VaeConfig(DiffusersConfig):
    """An `AutoencoderKL`."""

    in_channels: Literal[3] = 3
    latent_channels: Width
    block_out_channels: Blocks
    down_block_types: Names
    up_block_types: Names
    layers_per_block: Layers = 1
    norm_num_groups: Width = 32
    scaling_factor: float | None = Field(default=None, gt=0, lt=1e6)
    shift_factor: float | None = Field(default=None, gt=-1e6, lt=1e6)

    @model_validator(mode="after")
    def _scale_is_known(self) -> "VaeConfig":
        # Stable Diffusion 1 omits it, and the library's default is that model's value.
        if self.scaling_factor is None and self.latent_channels != 4:
            raise ValueError("a scaling_factor, which no default can replace here")
        return self


class Sd3Config(DiffusersConfig):
    """An `SD3Transformer2DModel`."""

    sample_size: Side
    patch_size: Annotated[int, Field(ge=1, le=64)]
    in_channels: Width
    out_channels: Width
    num_layers: Layers
    attention_head_dim: Width
    num_attention_heads: Width
    joint_attention_dim: Width
    caption_projection_dim: Width
    pooled_projection_dim: Width
    pos_embed_max_size: Side
    dual_attention_layers: Annotated[list[int], Field(max_length=256)] = []


class AuraFlowConfig(DiffusersConfig):
    """An `AuraFlowTransformer2DModel`."""

    sample_size: Side
    patch_size: Annotated[int, Field(ge=1, le=64)]
    in_channels: Width
    out_channels: Width | None = None
    num_mmdit_layers: Layers
    num_single_dit_layers: Layers
    attention_head_dim: Width
    num_attention_heads: Width
    joint_attention_dim: Width
    caption_projection_dim: Width
    pos_embed_max_size: Annotated[int, Field(ge=1, le=4096**2)]


class TransformersConfig(_Config):
    """A model of transformers."""

    # Would name weights other than those that were checked.
    transformers_weights: None = None


class ClipTextConfig(TransformersConfig):
    """A CLIP's text encoder alone."""

    model_type: Literal["clip_text_model"]
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)]
    hidden_size: Width
    intermediate_size: Annotated[int, Field(ge=1, le=1_000_000)]
    projection_dim: Width = 512
    num_hidden_layers: Layers
    num_attention_heads: Width
    max_position_embeddings: Annotated[int, Field(ge=3, le=65_536)]


class T5Config(TransformersConfig):
    """A T5's or UMT5's configuration, of which the encoder is read."""

    model_type: Literal["t5", "umt5"]
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)]
    d_model: Width
    d_kv: Width
    d_ff: Annotated[int, Field(ge=1, le=1_000_000)]
    num_layers: Layers
    num_decoder_layers: Layers | None = None
    num_heads: Width


class _ClipTextPart(ClipTextConfig):
    """The text encoder inside a whole CLIP, whose file omits defaults."""

    model_type: Literal["clip_text_model"] = "clip_text_model"
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)] = 49_408
    hidden_size: Width = 512
    intermediate_size: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 8
    max_position_embeddings: Annotated[int, Field(ge=3, le=65_536)] = 77


class _ClipVisionPart(_Config):
    hidden_size: Width = 768
    intermediate_size: Annotated[int, Field(ge=1, le=1_000_000)] = 3072
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 12
    num_channels: Literal[3] = 3
    image_size: Side = 224
    patch_size: Side = 32


class ClipConfig(TransformersConfig):
    """A whole CLIP."""

    model_type: Literal["clip"]
    projection_dim: Width = 512
    text_config: _ClipTextPart
    vision_config: _ClipVisionPart

    @model_validator(mode="before")
    @classmethod
    def _merge_old_names(cls, values: Any) -> Any:
        """Apply `text_config_dict` and its twin, as transformers does with old files."""
        if not isinstance(values, dict):
            return values
        merged: dict[str, Any] = dict(values)
        for name in ("text_config", "vision_config"):
            changes, part = merged.pop(f"{name}_dict", None), merged.get(name)
            if changes is None:
                continue
            if not isinstance(changes, dict) or not isinstance(part, dict | None):
                raise ValueError(f"objects in {name} and {name}_dict")
            merged[name] = {**(part or {}), **changes}
        return merged


class SchedulerConfig(DiffusersConfig):
    """A scheduler of a variance-preserving diffusion: its betas, and what the model predicts.

    The libraries' defaults for missing betas match no model, so betas are required.
    """

    num_train_timesteps: Annotated[int, Field(ge=1, le=_MAX_TIMESTEPS)]
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
    beta_start: Annotated[float, Field(gt=0, le=1)] | None = None
    beta_end: Annotated[float, Field(gt=0, le=1)] | None = None
    trained_betas: Annotated[list[float], Field(max_length=_MAX_TIMESTEPS)] | None = None
    # Absent in Stable Diffusion 1's file, where every scheduler's default is the right one.
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    # With it the same classes step a flow, whose levels are not those of the betas.
    use_flow_sigmas: Literal[False] | None = None

    @model_validator(mode="after")
    def _betas_are_there(self) -> "SchedulerConfig":
        if self.trained_betas is not None:
            if len(self.trained_betas) != self.num_train_timesteps:
                raise ValueError("as many trained_betas as num_train_timesteps")
            if not all(0 < beta <= 1 and math.isfinite(beta) for beta in self.trained_betas):
                raise ValueError("trained_betas above 0 and at most 1")
        elif self.beta_schedule != "squaredcos_cap_v2":
            if self.beta_start is None or self.beta_end is None:
                raise ValueError("beta_start and beta_end")
            if self.beta_start > self.beta_end:
                raise ValueError("a beta_start that is at most beta_end")
        return self


class FlowSchedulerConfig(DiffusersConfig):
    """A flow's scheduler; the kit reads only that it counts 1000 steps."""

    num_train_timesteps: Literal[1000] = 1000


class TokenizerConfig(_Config):
    """A `tokenizer_config.json`."""

    # Absent if it was not set; then, or if it is larger, the text encoder's own limit applies.
    model_max_length: Annotated[int | float, Field(gt=0)] | None = None
