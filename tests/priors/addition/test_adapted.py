"""LoRAs of every family and each of its components, in both layouts, merged by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.additions_check import check_additions
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.loaded_classes import loaded_classes

from ..families.conftest import saved  # noqa: TID252
from ..test_loaded_classes import SECTIONS, with_lora  # noqa: TID252

__all__ = ["saved"]

RANK, ALPHA = 2, 1.0
# Where a test's file has a place, and how each layout calls it.
KOHYA = {
    "denoiser": "lora_unet_",
    "text_encoder": "lora_te1_",
    "text_encoder_2": "lora_te2_",
    "text_encoder_3": "lora_te3_",
}
Tensors = dict[str, Tensor]
Layout = Callable[[str, str, str, Tensor, Tensor], Tensors]


def kohya(component: str, _: str, path: str, down: Tensor, up: Tensor) -> Tensors:
    name = KOHYA[component] + path.replace(".", "_")
    alpha = torch.tensor(ALPHA)
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": alpha,
    }


def peft(component: str, folder: str, path: str, down: Tensor, up: Tensor) -> Tensors:
    name = f"{folder if component == 'denoiser' else component}.{path}"
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up * ALPHA / RANK}


def comfy(component: str, folder: str, path: str, down: Tensor, up: Tensor) -> Tensors:
    """As trainers without diffusers call a denoiser."""
    found = peft(component, folder, path, down, up)
    if component != "denoiser":
        return found
    return {name.replace(f"{folder}.", "diffusion_model.", 1): rows for name, rows in found.items()}


def linear_layers(model: nn.Module) -> list[str]:
    """Return an attention's projection, and the last linear layer of all."""
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    attention = [name for name in names if "att" in name.lower()]
    return [attention[0], names[-1]]


@pytest.mark.parametrize("layout", [kohya, peft, comfy])
@pytest.mark.parametrize("name", SECTIONS)
def test_every_component_of_every_family_takes_a_lora_in_both_layouts(
    name: str, layout: Layout, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    section, directory = with_lora(name, request, file, "x")
    places = loaded_classes(section, directory)
    present = {
        component: section.folders[0] if component == "denoiser" else component
        for component in places
        if (directory / component).is_dir() or component == "denoiser"
    }
    if name == "stable_diffusion_xl":
        assert set(present) == {"denoiser", "text_encoder", "text_encoder_2"}
    generator = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    expected: dict[str, Tensors] = {}
    for component, folder in present.items():
        model = load_model(places[component], directory / folder, dtype=torch.float32)
        expected[component] = {key: value.clone() for key, value in model.state_dict().items()}
        for path in linear_layers(model):
            weight = expected[component][f"{path}.weight"]
            down = torch.randn(RANK, weight.shape[1], generator=generator)
            up = torch.randn(weight.shape[0], RANK, generator=generator)
            tensors |= layout(component, folder, path, down, up)
            weight += section.loras[0].scale * ALPHA / RANK * (up @ down)
    save_file(tensors, file)
    adapted = Adapted(section, directory, {"loras.0": file})
    check_additions(adapted)
    for component, folder in present.items():
        model = load_model(places[component], directory / folder, dtype=torch.float32)
        adapted.adapt(model, component)
        for key, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[component][key], rtol=1e-5, atol=1e-6)
