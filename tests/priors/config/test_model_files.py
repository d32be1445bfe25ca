"""A model's own files: damage and other models are refused before anything computes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from pydantic import TypeAdapter

from dreamfusion_kit.errors import DreamFusionKitError, WeightsError
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.config import components
from dreamfusion_kit.priors.config.model_files import check_clip, check_model
from dreamfusion_kit.priors.prediction import PREDICTION_TYPES
from dreamfusion_kit.recipe import schema

from ..sections import FAMILIES  # noqa: TID252

ROOT = Path(__file__).parents[3]
SECTIONS: dict[str, dict[str, Any]] = FAMILIES | {"clip_directory": {"kind": "clip"}}
LOCAL = {"kind": "local", "path": "model"}
Copy = Callable[[str], Path]


def section(family: str) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    return adapter.validate_python({"source": LOCAL, **SECTIONS[family]})


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """Return a function that copies a family's directory to a place where it may be changed."""

    def make(family: str) -> Path:
        source: Path = request.getfixturevalue(family)
        return Path(shutil.copytree(source, tmp_path / "model"))

    return make


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None in a change's place is JSON's null, ... removes."""
    values = json.loads(file.read_text()) | changes
    kept = {key: value for key, value in values.items() if value is not ...}
    file.write_text(json.dumps(kept))


def refusal(family: str, directory: Path) -> str:
    """Return what `check_model` says, in lines for a terminal."""
    with pytest.raises(DreamFusionKitError) as caught:
        check_model(section(family), directory)
    lines = str(caught.value).splitlines()
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    return "\n".join(lines)


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


# ---- schedulers


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": ...}, "_class_name is missing"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "is of a FlowMatchEuler"),
        ({"num_train_timesteps": ...}, "num_train_timesteps is missing"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_train_timesteps": 1e3}, "num_train_timesteps is 1000.0"),
        ({"beta_schedule": ...}, "beta_schedule is missing"),
        ({"beta_schedule": "exec"}, "beta_schedule is 'exec'"),
        ({"beta_start": ...}, "expected beta_start and beta_end"),
        ({"beta_end": None}, "expected beta_start and beta_end"),
        ({"beta_end": -0.1}, "beta_end is -0.1"),
        ({"beta_end": 2}, "beta_end is 2"),
        ({"beta_start": 0.5}, "expected a beta_start that is at most beta_end"),
        ({"trained_betas": [0.1]}, "as many trained_betas as num_train_timesteps"),
        ({"trained_betas": [-0.1] * 1000}, "trained_betas above 0"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
    ],
)
def test_betas_are_never_a_default_s(copy: Copy, changes: dict[str, Any], said: str) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "scheduler" / "scheduler_config.json", **changes)
    message = refusal("stable_diffusion", directory)
    assert message.startswith("model/scheduler/scheduler_config.json: ")
    assert said in message
    with pytest.raises(WeightsError, match=r"scheduler_config\.json"):
        build_prior(section("stable_diffusion"), directory, "cpu")


@pytest.mark.parametrize("family", ["pipeline", "stable_diffusion", "stable_diffusion_3"])
@pytest.mark.parametrize("content", ["{}", "", "[]"])
def test_an_empty_scheduler_is_refused(copy: Copy, family: str, content: str) -> None:
    directory = copy(family)
    (directory / "scheduler" / "scheduler_config.json").write_text(content)
    assert "model/scheduler/scheduler_config.json: " in refusal(family, directory)


def test_every_prediction_type_is_read() -> None:
    from dreamfusion_kit.priors.config.schema import SchedulerConfig

    for name in PREDICTION_TYPES:
        SchedulerConfig.model_validate(
            {
                "_class_name": "DDPMScheduler",
                "num_train_timesteps": 2,
                "beta_schedule": "squaredcos_cap_v2",
                "prediction_type": name,
            }
        )


@pytest.mark.parametrize("name", sorted(components.DIFFUSION_SCHEDULERS))
def test_schedulers_that_step_otherwise_mean_the_same_betas(copy: Copy, name: str) -> None:
    """Saved by the class itself: the betas that it computes are those that the prior reads."""
    scheduler_class: Any = getattr(diffusers, name)
    keys = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    directory = copy("stable_diffusion")
    try:
        own = scheduler_class(**keys, prediction_type="v_prediction")
    except (ImportError, DeprecationWarning):
        # One needs torchsde, and two warn with this NumPy; only their files are read.
        edit(directory / "scheduler" / "scheduler_config.json", _class_name=name, **keys)
        own = diffusers.DDIMScheduler(**keys)
    else:
        shutil.rmtree(directory / "scheduler")
        own.save_pretrained(directory / "scheduler")
    edit(directory / "model_index.json", scheduler=["diffusers", name])
    check_model(section("stable_diffusion"), directory)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert isinstance(prior, Prior)
    torch.testing.assert_close(prior.schedule.alpha_bar, own.alphas_cumprod.float())


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


# ---- vocabularies


@pytest.mark.parametrize("length", [..., 10**9, 1000000000000000019884624838656, 1e30, 77], ids=str)
def test_a_tokenizer_without_a_length_of_its_own_reads_as_much_as_its_encoder(
    copy: Copy, length: Any
) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    check_model(section("stable_diffusion"), directory)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert prior.encode_text(["a mug"]).tensors["hidden"].shape == (1, 16, 12)
    with pytest.raises(DreamFusionKitError, match="reads at most 16; shorten the prompt"):
        prior.encode_text(["a mug beside a robot"])


def test_a_tokenizer_s_own_length_counts_where_it_is_shorter(copy: Copy) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=8)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert prior.encode_text(["a mug"]).tensors["hidden"].shape == (1, 8, 12)


@pytest.mark.parametrize("length", [0, -1, "77", True, []])
def test_a_length_that_is_none_is_refused(copy: Copy, length: Any) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    assert "tokenizer_config.json: model_max_length" in refusal("stable_diffusion", directory)
