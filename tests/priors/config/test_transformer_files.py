"""Configurations of today's transformers: other models are refused before anything computes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.priors.config.model_files import check_model

from ..families.conftest import Save, saved, section  # noqa: TID252

__all__ = ["saved"]


def edit(file: Path, changes: dict[str, Any]) -> None:
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


@pytest.mark.parametrize(
    ("family", "file", "changes", "said"),
    [
        ("flux2_klein", "transformer", {"guidance_embeds": True}, "distilled for guidance"),
        ("flux2_klein", "transformer", {"guidance_embeds": ...}, "guidance_embeds is missing"),
        ("flux2_klein", "transformer", {"in_channels": 32}, "reads 32 channels; expected the 16"),
        ("flux2_klein", "transformer", {"joint_attention_dim": 8}, "width 8; expected the 24"),
        ("flux2_klein", "text_encoder", {"num_hidden_layers": 26}, "has 26 layers"),
        ("flux2_klein", "vae", {"_class_name": "AutoencoderKL"}, "expected AutoencoderKLFlux2"),
        ("z_image", "transformer", {"in_channels": 16}, "reads 16 channels; expected the 4"),
        ("z_image", "transformer", {"siglip_feat_dim": 8}, "siglip_feat_dim is 8"),
        ("z_image", "transformer", {"n_layers": 10**5}, "n_layers is 100000"),
        ("z_image", "text_encoder", {"model_type": "llama"}, "model_type is 'llama'"),
        ("z_image", "text_encoder", {"vocab_size": 100}, "expected 0 to 99"),
        ("qwen_image", "transformer", {"guidance_embeds": True}, "distilled for guidance"),
        ("qwen_image", "transformer", {"patch_size": 1}, "patch_size is 1"),
        ("qwen_image", "transformer", {"use_layer3d_rope": True}, "use_layer3d_rope is True"),
        ("qwen_image", "vae", {"latents_std": [1.0]}, "as many latents_mean and latents_std"),
        ("qwen_image", "vae", {"latents_std": [0.0] * 4}, "latents_std above 0"),
        ("sana", "transformer", {"guidance_embeds": True}, "distilled for guidance"),
        ("sana", "transformer", {"caption_channels": 16}, "width 16; expected the 8"),
        ("sana", "scheduler", {"_class_name": "DDIMScheduler"}, "is of a DDIMScheduler"),
        (
            "sana",
            "scheduler",
            {"_class_name": "DPMSolverMultistepScheduler"},
            "with use_flow_sigmas",
        ),
        ("sana", "vae", {"scaling_factor": ...}, "scaling_factor is missing"),
        ("pixart_sigma", "transformer", {"use_additional_conditions": True}, "use_additional"),
        ("pixart_sigma", "transformer", {"sample_size": 10**6}, "sample_size is 1000000"),
        ("pixart_sigma", "scheduler", {"beta_end": ...}, "expected beta_start and beta_end"),
    ],
)
def test_another_model_is_named(
    saved: Save, tmp_path: Path, family: str, file: str, changes: dict[str, Any], said: str
) -> None:
    directory = Path(shutil.copytree(saved(family), tmp_path / "model"))
    name = "scheduler_config.json" if file == "scheduler" else "config.json"
    edit(directory / file / name, changes)
    with pytest.raises(DreamFusionKitError) as caught:
        check_model(section(), directory)
    assert said in str(caught.value)
    assert all(len(line) < 500 for line in str(caught.value).splitlines())


def test_sana_s_own_scheduler_passes(saved: Save, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(saved("sana"), tmp_path / "model"))
    own = {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}
    own |= {"prediction_type": "flow_prediction", "flow_shift": 3.0}
    edit(directory / "scheduler" / "scheduler_config.json", own)
    check_model(section(), directory)


@pytest.mark.parametrize(("family", "side"), [("flux2_klein", 4), ("sana", 2), ("z_image", 4)])
def test_a_size_is_a_whole_number_of_patches(saved: Save, family: str, side: int) -> None:
    with pytest.raises(DreamFusionKitError, match=f"expected a multiple of {side}"):
        check_model(section(image_size_px=17), saved(family))


def test_an_old_vision_language_model_s_text_is_read_from_either_place(
    saved: Save, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(saved("qwen_image"), tmp_path / "model"))
    file = directory / "text_encoder" / "config.json"
    text = json.loads(file.read_text())["text_config"]
    edit(file, {**text, "model_type": "qwen2_5_vl", "text_config": ...})
    check_model(section(), directory)
