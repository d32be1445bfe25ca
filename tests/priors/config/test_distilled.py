"""Models that only their own files give away, under names that say nothing."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.lora_merge import read_lora
from dreamfusion_kit.priors.config.distilled import refuse_distilled, refuse_distilled_header
from dreamfusion_kit.priors.source import parts
from dreamfusion_kit.recipe.schema import FileSourceSection

from .model_copy import edit

SCHEDULER = "scheduler/scheduler_config.json"
TURBO = {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}
FEW = "distilled to a few steps"


@pytest.mark.parametrize(
    ("family", "file", "changes", "said"),
    [
        ("stable_diffusion", SCHEDULER, {"_class_name": "TCDScheduler"}, "a consistency model"),
        ("stable_diffusion", SCHEDULER, TURBO, "set timestep_spacing to leading"),
        ("stable_diffusion_3", SCHEDULER, {"stochastic_sampling": True}, "between few steps"),
        ("stable_diffusion", "model_index.json", {"_name_or_path": "stabilityai/sdxl-turbo"}, FEW),
        ("stable_diffusion", "unet/config.json", {"_name_or_path": "/data/LCM_v7/unet"}, FEW),
        ("stable_diffusion", "unet/config.json", {"_name_or_path": "C:\\m\\dmd2"}, FEW),
        ("stable_diffusion", SCHEDULER, {"_name_or_path": "h1t/TCD-SDXL-LoRA"}, FEW),
        (
            "stable_diffusion_3",
            "transformer/config.json",
            {"_name_or_path": "stabilityai/stable-diffusion-3.5-large-turbo"},
            FEW,
        ),
        (
            "stable_diffusion_3",
            "transformer/config.json",
            {"_name_or_path": "black-forest-labs/FLUX.2-dev/transformer"},
            "distilled for guidance",
        ),
    ],
)
def test_its_configuration_is_read(
    family: str,
    file: str,
    changes: dict[str, Any],
    said: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    directory = Path(shutil.copytree(request.getfixturevalue(family), tmp_path / "my-model"))
    refuse_distilled(directory)
    edit(directory / file, **changes)
    with pytest.raises(WeightsError) as caught:
        refuse_distilled(directory)
    message = str(caught.value)
    assert message.startswith(f"my-model/{file}: ")
    assert said in message
    assert "; expected a base model with an unconditional prediction; " in message


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        # As published with zero terminal signal: a sampler begins at the last timestep.
        (SCHEDULER, TURBO | {"rescale_betas_zero_snr": True}),
        (SCHEDULER, {"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}),
        (SCHEDULER, {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}),
        ("unet/config.json", {"_name_or_path": "runwayml/stable-diffusion-v1-5"}),
        ("unet/config.json", {"_name_or_path": "/lightning_logs/version_3/checkpoint-4000"}),
        ("unet/config.json", {"_name_or_path": "Lightning-AI/base"}),
        ("unet/config.json", {"_name_or_path": "unet"}),
        ("unet/config.json", {"_name_or_path": None}),
        ("model_index.json", {"is_distilled": False}),
    ],
)
def test_base_models_pass(
    file: str, changes: dict[str, Any], stable_diffusion: Path, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(stable_diffusion, tmp_path / "my-model"))
    edit(directory / file, **changes)
    refuse_distilled(directory)


HEADERS = {
    "modelspec.title": "DreamShaper XL Turbo",
    "modelspec.tags": "sdxl, lightning",
    "modelspec.merged_from": "sd_xl_base_1.0, LCM-LoRA",
    "ss_output_name": "style_dmd2",
    "sd_merge_models": '{"ab12": {"name": "sd_xl_turbo_1.0.safetensors"}}',
    "sd_merge_recipe": '{"type": "webui", "primary_model_hash": "Hyper-SDXL-8steps-lora"}',
}


@pytest.mark.parametrize("key", HEADERS)
def test_a_file_s_header_is_read(key: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"^mine: its header's {key} is .*{FEW}: .*; expected a"
    ):
        refuse_distilled_header({"format": "pt", key: HEADERS[key]}, "mine")


def test_other_words_of_a_header_are_not() -> None:
    refuse_distilled_header(
        {
            "format": "pt",
            "modelspec.title": "Stable Diffusion XL 1.0 Base",
            "modelspec.description": "Works well with LCM and turbo samplers",
            "ss_output_name": "my_style_4000_steps",
        },
        "mine",
    )
    refuse_distilled_header({}, "mine")


def test_a_lora_is_refused_by_its_header(tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"
    tensors = {"unet.a.lora_A.weight": torch.zeros(1, 2), "unet.a.lora_B.weight": torch.zeros(2, 1)}
    save_file(tensors, file)
    read_lora(file)
    save_file(tensors, file, metadata={"modelspec.title": "LCM-LoRA SDXL"})
    with pytest.raises(WeightsError, match=r"^style.safetensors: .*LCM-LoRA SDXL"):
        read_lora(file)


@pytest.mark.parametrize(
    ("metadata", "extra", "said"),
    [
        ({"modelspec.title": "SDXL Lightning"}, {}, "SDXL Lightning"),
        ({}, {"model.diffusion_model.time_embed.cond_proj.weight": (4, 4)}, "distilled for guid"),
    ],
)
def test_a_single_file_is_refused_before_anything_is_written(
    metadata: dict[str, str],
    extra: dict[str, tuple[int, ...]],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    names = ("model.diffusion_model.a", "first_stage_model.a", "cond_stage_model.transformer.a")
    tensors = {name: torch.zeros(1) for name in names}
    save_file(
        tensors | {name: torch.zeros(shape) for name, shape in extra.items()},
        tmp_path / "my.safetensors",
        metadata=metadata,
    )
    assert load_file(tmp_path / "my.safetensors").keys() >= set(names)
    source = FileSourceSection(
        kind="file",
        path="my.safetensors",
        sha256=hashlib.sha256((tmp_path / "my.safetensors").read_bytes()).hexdigest(),
        prediction_type="epsilon",
    )
    with pytest.raises(WeightsError, match=rf"^my.safetensors: .*{said}"):
        parts.bring(source, {}, tmp_path, offline=True)
    assert not list((tmp_path / "home").rglob("*.json"))
