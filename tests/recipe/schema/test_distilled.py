"""Known distilled models are refused when a recipe is read."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from dreamfusion_kit.recipe.schema import HubSourceSection, LoraSection, ModelSourceSection
from dreamfusion_kit.recipe.schema.source import DenoiserSourceSection

KEYS: dict[str, Any] = {
    "kind": "hub",
    "revision": "0" * 40,
    "mirrors": (),
    "files": ("*.json",),
    "license_note": "none",
}


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("black-forest-labs/FLUX.1-dev", "distilled for guidance"),
        ("black-forest-labs/FLUX.1-schnell", "distilled to a few steps"),
        ("stabilityai/sdxl-turbo", "distilled to a few steps"),
        ("Tongyi-MAI/Z-Image-Turbo", "distilled to a few steps"),
    ],
)
def test_a_distilled_model_is_refused_before_a_download(repository: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HubSourceSection(repository=repository, **KEYS)


def test_a_mirror_of_one_is_refused_too() -> None:
    mirrors = ({"repository": "stabilityai/SD-Turbo", "revision": "0" * 40},)
    with pytest.raises(ValidationError, match=r"mirrors.*\n.*distilled to a few steps"):
        HubSourceSection.model_validate({**KEYS, "repository": "someone/model", "mirrors": mirrors})


def test_a_base_model_is_not() -> None:
    HubSourceSection(repository="black-forest-labs/FLUX.2-klein-base-4B", **KEYS)


FEW_STEPS = (
    "sdxl-turbo-fp16",
    "DreamShaperXL_Turbo",
    "realvisxl_lightningBakedvae",
    "my-schnell",
    "lcm-lora-sdxl",
    "dreamshaper_8LCM",
    "LCMDreamshaper",
    "Hyper-SDXL-8steps-lora",
    "hypersd15",
    "realistic_v60_hyperVAE",
    "epic_HYPER",
    "sdxl_dmd2_4step",
    "TCD-SDXL-LoRA",
    "pcm_sd15_normalcfg_2step",
    "model-8-steps",
    "few_steps_xl",
    "flash-sd3",
    "sdxs-512-0.9",
    "perflow-sd15",
    "yoso_sd1.5_lora",
    "Sana_Sprint_1.6B",
)
OTHERS = (
    *("hyperrealism", "Hyper-Realistic", "hypernetwork", "turbid", "film_calcmode", "alcm"),
    *("lora_4000steps", "checkpoint-1-step-500", "stage1_step2", "flashlight", "epoch-8"),
    *("admdata", "stepsister", "lora-14-steps", "soft_catcds"),
)
SHA256 = "0" * 64


def sources(name: str) -> list[dict[str, Any]]:
    hub = {**KEYS, "repository": f"someone/{name}"}
    mirrors = ({"repository": f"someone/{name}", "revision": "0" * 40},)
    return [
        hub,
        {**KEYS, "repository": "someone/model", "mirrors": mirrors},
        {"kind": "local", "path": f"models/{name}"},
    ]


@pytest.mark.parametrize("name", FEW_STEPS)
def test_a_name_of_few_steps_is_refused_with_a_way_out(name: str) -> None:
    said = r"distilled to a few steps.*if the name misleads, rename the file or folder"
    lora = {"kind": "file", "path": f"{name}.safetensors", "sha256": SHA256}
    for source in sources(name):
        for section in (ModelSourceSection, DenoiserSourceSection):
            with pytest.raises(ValidationError, match=said):
                TypeAdapter[Any](section).validate_python(source)
    for source in (*sources(name), lora):
        with pytest.raises(ValidationError, match=said):
            LoraSection.model_validate({"source": source, "scale": 1.0})


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_of_something_else_is_not(name: str) -> None:
    for source in sources(name):
        TypeAdapter[Any](ModelSourceSection).validate_python(source)
        LoraSection.model_validate({"source": source, "scale": 1.0})


def test_an_owners_name_says_nothing_of_a_model() -> None:
    source = {**KEYS, "repository": "Lightning-AI/base"}
    TypeAdapter[Any](ModelSourceSection).validate_python(source)
