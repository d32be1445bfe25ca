"""What the configuration files of today's transformers, their VAEs and text encoders may say.

In bounds, as in `schema.py`, and for the same reason. Each transformer says which latents
and which text features it reads, so that both can be compared with what its directory gives.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dreamfusion_kit.priors.config.schema import (
    DiffusersConfig,
    Layers,
    Side,
    TransformersConfig,
    Width,
)

_Heads = Annotated[int, Field(ge=1, le=1024)]
_Patch = Annotated[int, Field(ge=1, le=64)]
_Shares = Annotated[list[Annotated[int, Field(ge=0, le=65_536)]], Field(max_length=16)]
_Numbers = Annotated[
    list[Annotated[float, Field(gt=-1e6, lt=1e6)]], Field(min_length=1, max_length=1024)
]
_Ratio = Annotated[float, Field(gt=0, le=64)]


class Flux2Config(DiffusersConfig):
    """A `Flux2Transformer2DModel`; its index's `is_distilled` is checked elsewhere."""

    in_channels: Width = 128
    out_channels: Width | None = None
    patch_size: Literal[1] = 1
    num_layers: Layers
    num_single_layers: Layers
    attention_head_dim: Width = 128
    num_attention_heads: _Heads
    joint_attention_dim: Width
    timestep_guidance_channels: Width = 256
    mlp_ratio: _Ratio = 3.0
    axes_dims_rope: _Shares = Field(default=[32, 32, 32, 32])
    guidance_embeds: Literal[False]

    @property
    def text_width(self) -> int:
        """Return the width of the text features."""
        return self.joint_attention_dim


class ZImageConfig(DiffusersConfig):
    """A `ZImageTransformer2DModel` of text alone."""

    in_channels: Width = 16
    out_channels: None = None
    all_patch_size: Annotated[list[Literal[2]], Field(min_length=1, max_length=1)] = Field(
        default=[2]
    )
    all_f_patch_size: Annotated[list[Literal[1]], Field(min_length=1, max_length=1)] = Field(
        default=[1]
    )
    dim: Width = 3840
    n_layers: Layers = 30
    n_refiner_layers: Layers = 2
    n_heads: _Heads = 30
    n_kv_heads: _Heads = 30
    cap_feat_dim: Width = 2560
    siglip_feat_dim: None = None
    axes_dims: _Shares = Field(default=[32, 48, 48])
    axes_lens: _Shares = Field(default=[1024, 512, 512])

    @property
    def text_width(self) -> int:
        """Return the width of the text features."""
        return self.cap_feat_dim


class QwenImageConfig(DiffusersConfig):
    """A `QwenImageTransformer2DModel` of text alone, on patches of 2 x 2 latents."""

    patch_size: Literal[2] = 2
    in_channels: Width = 64
    out_channels: Width | None = 16
    num_layers: Layers = 60
    attention_head_dim: Width = 128
    num_attention_heads: _Heads = 24
    joint_attention_dim: Width = 3584
    guidance_embeds: Literal[False] = False
    axes_dims_rope: _Shares = Field(default=[16, 56, 56])
    zero_cond_t: Literal[False] = False
    use_additional_t_cond: Literal[False] = False
    use_layer3d_rope: Literal[False] = False

    @property
    def text_width(self) -> int:
        """Return the width of the text features."""
        return self.joint_attention_dim


class SanaConfig(DiffusersConfig):
    """A `SanaTransformer2DModel`; Sprint reads the guidance scale and is refused."""

    in_channels: Width = 32
    out_channels: Width = 32
    num_attention_heads: _Heads = 70
    attention_head_dim: Width = 32
    num_layers: Layers = 20
    num_cross_attention_heads: _Heads = 20
    cross_attention_head_dim: Width = 112
    cross_attention_dim: Width = 2240
    caption_channels: Width = 2304
    mlp_ratio: _Ratio = 2.5
    sample_size: Side = 32
    patch_size: _Patch = 1
    guidance_embeds: Literal[False] = False
    timestep_scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    @property
    def text_width(self) -> int:
        """Return the width of the text features."""
        return self.caption_channels


class PixArtConfig(DiffusersConfig):
    """A `PixArtTransformer2DModel` as Sigma has it: without the size as a condition."""

    num_attention_heads: _Heads = 16
    attention_head_dim: Width = 72
    in_channels: Width = 4
    out_channels: Width = 8
    num_layers: Layers = 28
    cross_attention_dim: Width = 1152
    caption_channels: Width
    sample_size: Side = 128
    patch_size: _Patch = 2
    use_additional_conditions: Literal[False]

    @property
    def text_width(self) -> int:
        """Return the width of the text features."""
        return self.caption_channels


TransformerConfig = Flux2Config | ZImageConfig | QwenImageConfig | SanaConfig | PixArtConfig


class Flux2VaeConfig(DiffusersConfig):
    """An `AutoencoderKLFlux2`, whose latents are read in patches."""

    in_channels: Literal[3] = 3
    latent_channels: Width = 32
    block_out_channels: Annotated[list[Width], Field(min_length=1, max_length=16)]
    layers_per_block: Layers = 2
    norm_num_groups: Width = 32
    patch_size: Annotated[list[Literal[2]], Field(min_length=2, max_length=2)] = Field(
        default=[2, 2]
    )


class QwenVaeConfig(DiffusersConfig):
    """An `AutoencoderKLQwenImage`."""

    base_dim: Width = 96
    z_dim: Width = 16
    dim_mult: Annotated[list[Width], Field(min_length=1, max_length=16)] = Field(
        default=[1, 2, 4, 4]
    )
    num_res_blocks: Layers = 2
    input_channels: Literal[3] = 3
    temperal_downsample: Annotated[list[bool], Field(max_length=16)] = Field(
        default=[False, True, True]
    )
    latents_mean: _Numbers
    latents_std: _Numbers

    @model_validator(mode="after")
    def _one_number_a_channel(self) -> "QwenVaeConfig":
        if not len(self.latents_mean) == len(self.latents_std) == self.z_dim:
            raise ValueError("as many latents_mean and latents_std as z_dim")
        if min(self.latents_std) <= 0:
            raise ValueError("latents_std above 0")
        return self


class DcVaeConfig(DiffusersConfig):
    """An `AutoencoderDC`."""

    in_channels: Literal[3] = 3
    latent_channels: Width = 32
    attention_head_dim: Width = 32
    encoder_block_out_channels: Annotated[list[Width], Field(min_length=1, max_length=16)]
    encoder_layers_per_block: Annotated[
        list[Annotated[int, Field(ge=0, le=256)]], Field(min_length=1, max_length=16)
    ]
    scaling_factor: Annotated[float, Field(gt=0, lt=1e6)]


class _LanguageModel(TransformersConfig):
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)]
    hidden_size: Width
    intermediate_size: Annotated[int, Field(ge=1, le=1_000_000)]
    num_hidden_layers: Layers
    num_attention_heads: _Heads
    num_key_value_heads: _Heads


class LanguageModelConfig(_LanguageModel):
    """A Qwen3 or Gemma 2, of which the hidden states are read."""

    model_type: Literal["qwen3", "gemma2"]


def _with_its_text(values: Any) -> Any:
    """Put a vision-language model's text beside the other keys, where old files have it."""
    if isinstance(values, dict) and isinstance(values.get("text_config"), dict):
        return {**values, **values["text_config"], "model_type": values.get("model_type")}
    return values


class VisionLanguageConfig(_LanguageModel):
    """A Qwen2.5-VL, of which the text is read."""

    model_type: Literal["qwen2_5_vl"]

    _flat = model_validator(mode="before")(_with_its_text)
