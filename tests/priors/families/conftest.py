"""One tiny directory of each family of transformers, and what its own pipeline predicts."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.schema import LatentTransformerSection

from ..conftest import build_tokenizer, save_all  # noqa: TID252

# As Qwen3's own tokenizer has it for one message; the kit does not run what it finds here.
QWEN3_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is "
    "false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
LANGUAGE: dict[str, Any] = {
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 300,
}


def alphabet() -> dict[str, int]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {letter: index for index, letter in enumerate(letters)}


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a tokenizer that reads any text, byte by byte."""
    tokenizer = Qwen2Tokenizer(vocab=alphabet(), merges=[])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]}
    )
    tokenizer.chat_template = QWEN3_TEMPLATE
    return tokenizer


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    vocab = alphabet() | {"<bos>": 256, "<pad>": 257}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 256)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", pad_token="<pad>")


def qwen3(layers: int) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(hidden_size=8, head_dim=4, num_hidden_layers=layers, **LANGUAGE)
    )


def kl_vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=2,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )


def flow() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler()


def flux2_klein() -> dict[str, Any]:
    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=8,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return {
        "tokenizer": qwen_tokenizer(),
        "text_encoder": qwen3(28),
        "transformer": transformer,
        "vae": vae,
        "scheduler": flow(),
    }


def z_image() -> dict[str, Any]:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=8,
        axes_dims=[4, 6, 6],
        axes_lens=[512, 64, 64],
    )
    for name, value in transformer.named_parameters():
        if "pad_token" in name:
            torch.nn.init.normal_(value)
    return {
        "tokenizer": qwen_tokenizer(),
        "text_encoder": qwen3(2),
        "transformer": transformer,
        "vae": kl_vae(4),
        "scheduler": flow(),
    }


def qwen_image() -> dict[str, Any]:
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={"hidden_size": 16, "num_hidden_layers": 2, **LANGUAGE}
            | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
            vision_config={
                "depth": 1,
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_heads": 2,
                "out_hidden_size": 16,
            },
            vision_start_token_id=290,
            image_token_id=291,
            video_token_id=292,
        )
    )
    vae = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.4],
        latents_std=[1.5, 0.5, 2.0, 1.0],
    )
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return {
        "tokenizer": qwen_tokenizer(),
        "text_encoder": encoder,
        "transformer": transformer,
        "vae": vae,
        "scheduler": flow(),
    }


def sana() -> dict[str, Any]:
    encoder = Gemma2Model(Gemma2Config(hidden_size=8, head_dim=4, num_hidden_layers=1, **LANGUAGE))
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=32,
    )
    return {
        "tokenizer": gemma_tokenizer(),
        "text_encoder": encoder,
        "transformer": transformer,
        "vae": vae,
        "scheduler": flow(),
    }


def pixart_sigma() -> dict[str, Any]:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    tokenizer = build_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=8,
        use_additional_conditions=False,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes)),
        "transformer": transformer,
        "vae": kl_vae(4),
        "scheduler": DPMSolverMultistepScheduler(
            beta_start=0.0001, beta_end=0.02, beta_schedule="linear"
        ),
    }


COMPONENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "flux2_klein": flux2_klein,
    "z_image": z_image,
    "qwen_image": qwen_image,
    "sana": sana,
    "pixart_sigma": pixart_sigma,
}
Save = Callable[[str], Path]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Return a function that saves a family's directory once; no test may change it."""
    found: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in found:
            torch.manual_seed(0)
            components = COMPONENTS[family]()
            for value in components["transformer"].parameters():
                if not bool(value.any()):  # some outputs start as zeros, which would prove nothing
                    torch.nn.init.normal_(value, std=0.1)
            found[family] = save_all(tmp_path_factory.mktemp(family), components)
        return found[family]

    return save


def section(**changes: Any) -> LatentTransformerSection:
    keys: dict[str, Any] = {
        "kind": "latent_transformer",
        "source": {"kind": "local", "path": "model"},
        "dtype": "float32",
        "vae_dtype": "float32",
        "text_dtype": "float32",
        "text_tokens": 300,
        "image_size_px": 16,
        "cpu_offload": False,
        "storage_dtype": None,
        "loras": (),
    }
    return LatentTransformerSection.model_validate(keys | changes)


def build(directory: Path, **changes: Any) -> Prior:
    prior = build_prior(section(**changes), directory, "cpu")
    assert isinstance(prior, Prior)
    return prior


class _StoppedError(Exception):
    pass


def own_prediction(
    pipeline_class: Any, directory: Path, latents: Tensor, prompt: str, **arguments: Any
) -> tuple[Tensor, float]:
    """Call the model's own pipeline up to its scheduler's first step.

    Returns what the pipeline gives its scheduler as the model's output, and the timestep of 1000.
    """
    pipeline = pipeline_class.from_pretrained(directory)
    pipeline.set_progress_bar_config(disable=True)
    seen: list[tuple[Tensor, float]] = []

    def step(output: Tensor, timestep: Any, *_: Any, **__: Any) -> Any:
        seen.append((output, float(timestep)))
        raise _StoppedError

    pipeline.scheduler.step = step
    with pytest.raises(_StoppedError):
        pipeline(prompt=prompt, latents=latents, output_type="latent", **arguments)
    return seen[0]


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
