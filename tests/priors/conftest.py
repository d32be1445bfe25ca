"""A tiny diffusers directory, laid out like the toybox's, with random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from dreamfusion_kit.priors.network.multi_view import changed_tensors, make_multi_view

from .mvdream_network import MvdreamNetwork

WORDS = ("a", "red", "blue", "mug", "robot", "front", "view", ",")
MODEL_INDEX = {
    "_class_name": "TextToImagePixelPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDPMScheduler"],
}
MAX_TOKENS = 16


def build_tokenizer() -> CLIPTokenizer:
    """Return a byte-pair tokenizer over the alphabet, without merges."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [","]
    pieces = letters + [letter + "</w>" for letter in letters]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    vocab |= {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=MAX_TOKENS)


def build_unet(in_channels: int, out_channels: int, sample_size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=12,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


@pytest.fixture(scope="session")
def make_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves such a directory and returns its path."""

    def make(
        prediction_type: str = "v_prediction",
        in_channels: int = 3,
        out_channels: int = 3,
        sample_size: int = 8,
    ) -> Path:
        directory = tmp_path_factory.mktemp("pipeline")
        torch.manual_seed(0)  # The libraries initialise from the global state.
        tokenizer = build_tokenizer()
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=12,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        scheduler = DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type
        )
        tokenizer.save_pretrained(directory / "tokenizer")
        encoder.save_pretrained(directory / "text_encoder")
        build_unet(in_channels, out_channels, sample_size).save_pretrained(directory / "unet")
        scheduler.save_pretrained(directory / "scheduler")
        (directory / "model_index.json").write_text(json.dumps(MODEL_INDEX))
        return directory

    return make


@pytest.fixture(scope="session")
def pipeline(make_pipeline: Callable[..., Path]) -> Path:
    """Return a directory that no test may change."""
    return make_pipeline()


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    """Return the tiny tokenizer itself."""
    return build_tokenizer()


# ---- one directory of each pretrained family, tiny


def save_all(directory: Path, components: dict[str, Any], **entries: Any) -> Path:
    """Save components into their folders, and the index that a pipeline would write."""
    index: dict[str, Any] = {"_class_name": "Pipeline", **entries}
    for name, component in components.items():
        component.save_pretrained(directory / name)
        library = type(component).__module__.split(".")[0]
        index[name] = [library, type(component).__name__]
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def clip_encoder(model_class: Any = CLIPTextModel, width: int = 12) -> Any:
    tokenizer = build_tokenizer()
    return model_class(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=width,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def t5_encoder(model_class: Any, config_class: Any, width: int) -> Any:
    sizes = {"d_model": width, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return model_class(config_class(vocab_size=len(build_tokenizer()), **sizes))


def build_vae(latent_channels: int, scaling_factor: float, **changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=2,
        sample_size=16,
        scaling_factor=scaling_factor,
        **changes,
    )


@pytest.fixture(scope="session")
def make_if(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like DeepFloyd IF-I's."""
    torch.manual_seed(0)
    components = {
        "tokenizer": build_tokenizer(),
        "text_encoder": t5_encoder(T5EncoderModel, T5Config, 12),
        "unet": build_unet(3, 6, 8),
        "scheduler": DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range"
        ),
    }
    return save_all(tmp_path_factory.mktemp("if"), components)


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like Stable Diffusion 1.5's."""
    torch.manual_seed(0)
    components = {
        "tokenizer": build_tokenizer(),
        "text_encoder": clip_encoder(),
        "unet": build_unet(4, 4, 8),
        "vae": build_vae(4, 0.18215),
        "scheduler": PNDMScheduler(beta_start=0.00085, beta_end=0.012, skip_prk_steps=True),
    }
    return save_all(tmp_path_factory.mktemp("sd15"), components)


@pytest.fixture(scope="session")
def stable_diffusion_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like SDXL's."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=12 + 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 8,
    )
    components = {
        "tokenizer": build_tokenizer(),
        "tokenizer_2": build_tokenizer(),
        "text_encoder": clip_encoder(),
        "text_encoder_2": clip_encoder(CLIPTextModelWithProjection, 8),
        "unet": unet,
        "vae": build_vae(4, 0.13025),
        "scheduler": EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012),
    }
    directory = tmp_path_factory.mktemp("sdxl")
    return save_all(directory, components, force_zeros_for_empty_prompt=True)


@pytest.fixture(scope="session")
def mvdream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like MVDream's published one, for diffusers."""
    torch.manual_seed(0)
    components = {
        "tokenizer": build_tokenizer(),
        "text_encoder": clip_encoder(),
        "vae": build_vae(4, 0.18215),
        "scheduler": DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
    }
    directory = tmp_path_factory.mktemp("mvdream")
    entries = {
        "unet": ["mv_unet", "MultiViewUNetModel"],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    save_all(directory, components, **entries)
    (directory / "unet").mkdir()
    (directory / "unet" / "config.json").write_text(json.dumps(MvdreamNetwork.CONFIG))
    save_file(
        MvdreamNetwork().state_dict(), directory / "unet" / "diffusion_pytorch_model.safetensors"
    )
    return directory


@pytest.fixture(scope="session")
def view_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that makes `pipeline`'s U-Net one of several views, of random numbers."""
    torch.manual_seed(1)
    unet = make_multi_view(build_unet(3, 3, 8), 4)
    torch.nn.init.normal_(unet.get_submodule("camera_embedding.2").weight)
    path = tmp_path_factory.mktemp("views") / "multi_view.safetensors"
    save_file({name: value.contiguous() for name, value in changed_tensors(unet).items()}, path)
    return path


@pytest.fixture(scope="session")
def stable_diffusion_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like Stable Diffusion 3.5's."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pooled_projection_dim=12 + 8,
        pos_embed_max_size=8,
    )
    components = {
        "tokenizer": build_tokenizer(),
        "tokenizer_2": build_tokenizer(),
        "tokenizer_3": build_tokenizer(),
        "text_encoder": clip_encoder(CLIPTextModelWithProjection, 12),
        "text_encoder_2": clip_encoder(CLIPTextModelWithProjection, 8),
        "text_encoder_3": t5_encoder(T5EncoderModel, T5Config, 24),
        "transformer": transformer,
        "vae": build_vae(16, 1.5305, shift_factor=0.0609),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }
    return save_all(tmp_path_factory.mktemp("sd3"), components)


@pytest.fixture(scope="session")
def aura_flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory laid out like AuraFlow's."""
    torch.manual_seed(0)
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    components = {
        "tokenizer": build_tokenizer(),
        "text_encoder": t5_encoder(UMT5EncoderModel, UMT5Config, 24),
        "transformer": transformer,
        "vae": build_vae(4, 0.13025),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }
    return save_all(tmp_path_factory.mktemp("aura_flow"), components)


@pytest.fixture(scope="session")
def clip_directory(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    """Return a whole CLIP, tiny, that no test may change."""
    directory = tmp_path_factory.mktemp("clip")
    shared = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    text = shared | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = shared | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(directory)
    return directory
