"""A model's own files: damage and other models are refused before anything computes."""

import json
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.config.model_files import check_clip, check_model
from dreamfusion_kit.recipe import schema

from .model_copy import LOCAL, SECTIONS, Copy, edit, refusal, section

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("family", SECTIONS)
def test_whole_models_pass(copy: Copy, family: str) -> None:
    check_model(section(family), copy(family))


@pytest.mark.parametrize("name", ["clip", "prior"])
def test_the_toybox_passes(name: str) -> None:
    directory = ROOT / "dreamfusion_kit/toybox/weights" / name
    if name == "clip":
        check_clip(directory)
    else:
        toybox = SECTIONS["pipeline"] | {"source": LOCAL, "image_size_px": 64}
        check_model(schema.PixelUnetSection.model_validate(toybox), directory)


def test_stable_diffusion_1_s_own_scheduler_passes(copy: Copy) -> None:
    """Its file has no prediction_type, which came later, and the VAE's has no scaling_factor."""
    directory = copy("stable_diffusion")
    published = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    (directory / "scheduler" / "scheduler_config.json").write_text(json.dumps(published))
    edit(directory / "vae" / "config.json", scaling_factor=...)
    check_model(section("stable_diffusion"), directory)
    build_prior(section("stable_diffusion"), directory, "cpu")


# ---- distilled models


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("scheduler/scheduler_config.json", {"use_flow_sigmas": True}, "use_flow_sigmas is True"),
        ("model_index.json", {"is_distilled": True}, "is_distilled is true: a model of a few"),
        ("model_index.json", {"scheduler": ["diffusers", "LCMScheduler"]}, "a consistency model"),
        ("model_index.json", {"scheduler": ["diffusers", "TCDScheduler"]}, "a consistency model"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "distilled for guidance"),
        ("unet/config.json", {"guidance_embeds": True}, "distilled for guidance"),
        ("unet/config.json", {"_class_name": "FluxTransformer2DModel"}, "FLUX.1 was published"),
    ],
)
def test_a_distilled_model_is_refused_with_the_reason(
    copy: Copy, file: str, changes: dict[str, Any], said: str
) -> None:
    directory = copy("stable_diffusion")
    edit(directory / file, **changes)
    assert said in refusal("stable_diffusion", directory)


# ---- channels


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (9, "reads 9 channels (it also reads a masked picture, for inpainting)"),
        (5, "reads 5 channels (it also reads a depth map)"),
        (8, "reads 8 channels (it also reads a picture to edit)"),
        (3, "reads 3 channels; expected the 4 of its VAE's latents"),
        (-4, "in_channels is -4"),
        (0, "in_channels is 0"),
        (10**9, "in_channels is 1000000000"),
        (4.0, "in_channels is 4.0"),
        ("4", "in_channels is '4'"),
        (None, "in_channels is None"),
        (..., "in_channels is missing"),
        (float("inf"), "Infinity is not a number of JSON"),
        (float("nan"), "NaN is not a number of JSON"),
    ],
)
def test_a_u_net_reads_latents_alone(copy: Copy, channels: Any, said: str) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "unet" / "config.json", in_channels=channels)
    message = refusal("stable_diffusion", directory)
    assert message.startswith("model/unet")
    assert said in message
    with pytest.raises(WeightsError, match=r"^model/unet"):
        build_prior(section("stable_diffusion"), directory, "cpu")


@pytest.mark.parametrize(
    ("family", "folder"),
    [
        ("stable_diffusion", "unet"),
        ("stable_diffusion", "text_encoder"),
        ("stable_diffusion_3", "transformer"),
        ("stable_diffusion_3", "vae"),
    ],
)
def test_quantized_weights_are_refused_by_fetch(copy: Copy, family: str, folder: str) -> None:
    """As bitsandbytes, torchao and others save them; each needs its own library to read."""
    directory = copy(family)
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    edit(directory / folder / "config.json", quantization_config=quantized)
    message = refusal(family, directory)
    assert message.startswith(f"model/{folder}/config.json: its weights are quantized by bitsand")
    assert "choose the model that it was made from" in message


@pytest.mark.parametrize("channels", [-3, 0, 4, 9, 10**9])
def test_a_u_net_reads_pixels_alone(copy: Copy, channels: int) -> None:
    directory = copy("pipeline")
    edit(directory / "unet" / "config.json", in_channels=channels)
    assert "model/unet" in refusal("pipeline", directory) or channels == 9


@pytest.mark.parametrize("family", ["stable_diffusion_3", "aura_flow"])
@pytest.mark.parametrize("channels", [-16, 17, 33, 10**9])
def test_a_transformer_reads_latents_alone(copy: Copy, family: str, channels: int) -> None:
    directory = copy(family)
    edit(directory / "transformer" / "config.json", in_channels=channels)
    assert refusal(family, directory).startswith("model/transformer")


# ---- other models, and numbers that hang or overflow


@pytest.mark.parametrize(
    ("family", "file", "changes", "said"),
    [
        (
            "stable_diffusion",
            "unet",
            {"_class_name": "UNet3DConditionModel"},
            "UNet3DConditionModel",
        ),
        ("stable_diffusion", "unet", {"_class_name": ...}, "_class_name is missing"),
        ("stable_diffusion", "unet", {"block_out_channels": [8] * 100_000}, "block_out_channels"),
        ("stable_diffusion", "unet", {"block_out_channels": [8]}, "as many down_block_types"),
        ("stable_diffusion", "unet", {"layers_per_block": 100_000}, "layers_per_block.0 is 100000"),
        (
            "stable_diffusion",
            "unet",
            {"transformer_layers_per_block": 100_000},
            "transformer_layers_per_block",
        ),
        (
            "stable_diffusion",
            "unet",
            {"cross_attention_dim": 768},
            "reads text features of width 768",
        ),
        ("stable_diffusion", "unet", {"num_class_embeds": 1000}, "num_class_embeds is 1000"),
        ("stable_diffusion", "unet", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("stable_diffusion", "unet", {"time_cond_proj_dim": 256}, "time_cond_proj_dim is 256"),
        ("stable_diffusion", "unet", {"addition_embed_type": "image"}, "addition_embed_type"),
        ("stable_diffusion", "unet", {"addition_embed_type": "text_time"}, "text_time"),
        ("stable_diffusion", "unet", {"out_channels": 8}, "returns 8 channels; expected 4"),
        ("stable_diffusion", "vae", {"_class_name": "AutoencoderTiny"}, "is of a AutoencoderTiny"),
        ("stable_diffusion", "vae", {"latent_channels": 16}, "the 16 of its VAE's latents"),
        ("stable_diffusion", "vae", {"scaling_factor": 0.0}, "scaling_factor is 0.0"),
        ("stable_diffusion", "vae", {"layers_per_block": 100_000}, "layers_per_block is 100000"),
        (
            "stable_diffusion_3",
            "vae",
            {"scaling_factor": ...},
            "a scaling_factor, which no default",
        ),
        ("stable_diffusion", "text_encoder", {"model_type": "bert"}, "model_type is 'bert'"),
        ("stable_diffusion", "text_encoder", {"model_type": "clip_vision_model"}, "model_type"),
        ("stable_diffusion", "text_encoder", {"num_hidden_layers": 100_000}, "num_hidden_layers"),
        (
            "stable_diffusion",
            "text_encoder",
            {"vocab_size": 10},
            "numbers a token 55; expected 0 to 9",
        ),
        ("stable_diffusion", "text_encoder", {"vocab_size": 10**12}, "vocab_size is 10000"),
        (
            "stable_diffusion",
            "text_encoder",
            {"transformers_weights": "../x"},
            "transformers_weights",
        ),
        ("make_if", "text_encoder", {"model_type": "umt5"}, "is of model_type umt5"),
        ("make_if", "text_encoder", {"num_layers": 100_000}, "num_layers is 100000"),
        ("make_if", "text_encoder", {"d_model": 24}, "reads text features of width 12"),
        ("make_if", "unet", {"out_channels": 7}, "returns 7 channels for 3"),
        ("stable_diffusion_xl", "text_encoder_2", {"hidden_size": 16}, "expected the 28"),
        (
            "stable_diffusion_xl",
            "unet",
            {"addition_embed_type": None},
            "has addition_embed_type None",
        ),
        ("stable_diffusion_3", "transformer", {"num_layers": 100_000}, "num_layers is 100000"),
        ("stable_diffusion_3", "transformer", {"pooled_projection_dim": 7}, "reads 7 pooled"),
        ("stable_diffusion_3", "transformer", {"joint_attention_dim": 32}, "width 32"),
        ("aura_flow", "transformer", {"num_single_dit_layers": 100_000}, "num_single_dit_layers"),
        (
            "aura_flow",
            "transformer",
            {"_class_name": "FluxTransformer2DModel"},
            "FluxTransformer2D",
        ),
    ],
)
def test_another_model_is_named(
    copy: Copy, family: str, file: str, changes: dict[str, Any], said: str
) -> None:
    directory = copy(family)
    edit(directory / file / "config.json", **changes)
    assert said in refusal(family, directory)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("text_config", {"num_hidden_layers": 100_000}, "text_config.num_hidden_layers is 100000"),
        ("text_config", {"max_position_embeddings": 10**9}, "text_config.max_position_embeddings"),
        ("text_config", {"vocab_size": 10}, "numbers a token 55"),
        ("text_config", {"model_type": "bert"}, "text_config.model_type is 'bert'"),
        ("vision_config", {"image_size": 10**6}, "vision_config.image_size is 1000000"),
        ("vision_config", {"num_channels": 4}, "vision_config.num_channels is 4"),
    ],
)
def test_a_clip_s_parts_are_checked(
    copy: Copy, part: str, changes: dict[str, Any], said: str
) -> None:
    directory = copy("clip_directory")
    values = json.loads((directory / "config.json").read_text())
    edit(directory / "config.json", **{part: values[part] | changes})
    assert said in refusal("clip_directory", directory)
    with pytest.raises(WeightsError):
        check_clip(directory)
    # As old files have them: a second object, whose keys go before the first's.
    edit(directory / "config.json", **{part: values[part], f"{part}_dict": changes})
    assert said in refusal("clip_directory", directory)


@pytest.mark.parametrize("family", SECTIONS)
def test_every_json_file_is_read_in_bounds(copy: Copy, family: str) -> None:
    """Each file that decides something, as a bomb: too deep to nest, and too large."""
    directory = copy(family)
    for path in sorted(directory.rglob("*config.json")):
        if path.name in ("generation_config.json", "preprocessor_config.json"):
            continue
        whole = path.read_bytes()
        for bomb in ("[" * 10**6, '{"a":' * 10**5 + "1" + "}" * 10**5, f'{{"a": "{"x" * 2**27}"}}'):
            path.write_text(bomb)
            assert path.parent.name in refusal(family, directory)
        path.write_bytes(whole)
