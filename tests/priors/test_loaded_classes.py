"""What `fetch` checks a LoRA against is what the prior later merges it into."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors import additions_check
from dreamfusion_kit.priors.addition import adapted
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.addition.lora_merge import Lora
from dreamfusion_kit.priors.additions_check import check_additions
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.loaded_classes import loaded_classes
from dreamfusion_kit.recipe import schema

from .families.conftest import COMPONENTS, saved
from .sections import FAMILIES, OPEN

__all__ = ["saved"]

LOCAL = {"kind": "local", "path": "somewhere"}
SOURCE = {"kind": "file", "path": "style.safetensors", "sha256": "0" * 64}
TOKENS = {"pixart_sigma": 16, "qwen_image": 150}  # what the tiny models read
SECTIONS: dict[str, dict[str, Any]] = {
    name: keys for name, keys in FAMILIES.items() if keys["kind"] != "pixel_unet"
} | {name: OPEN | {"text_tokens": TOKENS.get(name, OPEN["text_tokens"])} for name in COMPONENTS}


def with_lora(
    name: str, request: pytest.FixtureRequest, file: Path, module: str
) -> tuple[Any, Path]:
    """Return a section with a LoRA of one module of the text encoder, and the directory."""
    tiny = request.getfixturevalue("saved" if name in COMPONENTS else name)
    matrices = {"lora_A": torch.ones(1, 1), "lora_B": torch.ones(1, 1)}
    save_file({f"text_encoder.{module}.{end}.weight": m for end, m in matrices.items()}, file)
    data = {"source": LOCAL, **SECTIONS[name], "loras": ({"source": SOURCE, "scale": 1.0},)}
    section = TypeAdapter(schema.PriorSection).validate_python(data, strict=False)
    return section, tiny(name) if name in COMPONENTS else tiny


@pytest.mark.parametrize("name", SECTIONS)
def test_every_component_is_checked_with_the_class_that_is_loaded(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "style.safetensors"
    section, directory = with_lora(name, request, file, "x")
    seen: dict[str, type] = {}

    def noted(model: torch.nn.Module, component: str, _: Any) -> None:
        seen[component] = type(model)

    monkeypatch.setattr(adapted, "merge", noted)
    prior: Any = build_prior(section, directory, "cpu", {"loras.0": file})
    prior.encode_text(["a"])
    _ = prior._denoiser
    classes = loaded_classes(section, directory)
    assert seen == {component: classes[component] for component in seen}
    assert {"denoiser", "text_encoder"} <= seen.keys()
    built: dict[str, type] = {}

    def checked(model: torch.nn.Module, component: str, _: Any) -> None:
        built[component] = type(model)

    every = Lora("style.safetensors", {component: {} for component in seen})
    monkeypatch.setattr(additions_check, "check_fits", checked)
    monkeypatch.setattr(adapted, "read_lora", lambda *_, **__: every)
    check_additions(Adapted(section, directory, {"loras.0": file}))
    assert built == seen


@pytest.mark.parametrize(
    ("name", "module"),
    [
        # As the class without a language model's head would name it, and T5 with its decoder.
        ("z_image", "layers.0.self_attn.q_proj"),
        ("aura_flow", "decoder.block.0.layer.0.SelfAttention.q"),
    ],
)
def test_a_module_that_loading_would_miss_is_refused_before(
    name: str, module: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    section, directory = with_lora(name, request, file, module)
    adapted = Adapted(section, directory, {"loras.0": file})
    with pytest.raises(WeightsError, match="which this model's text_encoder does not have"):
        check_additions(adapted)
