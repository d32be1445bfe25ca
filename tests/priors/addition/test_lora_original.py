"""LoRAs by the names of FLUX.2's and Z-Image's own repositories, against diffusers' conversion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Flux2Transformer2DModel, ZImageTransformer2DModel
from diffusers.loaders import lora_conversion_utils
from safetensors.torch import save_file
from torch import Tensor, nn

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.lora_merge import check_fits, merge, read_lora

from ..families.conftest import COMPONENTS  # noqa: TID252

Tensors = dict[str, Tensor]
RANK = 2
LIBRARY: Any = lora_conversion_utils


def matrices(sizes: dict[str, tuple[int, int]], prefix: str, joint: str, ends: str) -> Tensors:
    """Return down and up of each module, which goes from its first size to its second."""
    generator = torch.Generator().manual_seed(0)
    found: Tensors = {}
    for module, (inputs, outputs) in sizes.items():
        name = prefix + module.replace(".", joint)
        down, up = ends.split()
        found[f"{name}.{down}.weight"] = torch.randn(RANK, inputs, generator=generator)
        found[f"{name}.{up}.weight"] = torch.randn(outputs, RANK, generator=generator)
        if down == "lora_down":
            found[f"{name}.alpha"] = torch.tensor(1.0)
    return found


def flux2() -> tuple[Flux2Transformer2DModel, dict[str, tuple[int, int]]]:
    """Return a tiny transformer, and what the original repository has in its place."""
    model: Any = COMPONENTS["flux2_klein"]()["transformer"]
    double, single = model.transformer_blocks[0], model.single_transformer_blocks[0]

    def sizes(layer: nn.Linear, times: int = 1) -> tuple[int, int]:
        return layer.in_features, times * layer.out_features

    return model, {
        "double_blocks.0.img_attn.qkv": sizes(double.attn.to_q, 3),
        "double_blocks.0.txt_attn.qkv": sizes(double.attn.add_q_proj, 3),
        "double_blocks.0.img_attn.proj": sizes(double.attn.to_out[0]),
        "double_blocks.0.txt_attn.proj": sizes(double.attn.to_add_out),
        "double_blocks.0.img_mlp.0": sizes(double.ff.linear_in),
        "double_blocks.0.img_mlp.2": sizes(double.ff.linear_out),
        "double_blocks.0.txt_mlp.0": sizes(double.ff_context.linear_in),
        "double_blocks.0.txt_mlp.2": sizes(double.ff_context.linear_out),
        "single_blocks.0.linear1": sizes(single.attn.to_qkv_mlp_proj),
        "single_blocks.0.linear2": sizes(single.attn.to_out),
    }


def z_image() -> tuple[ZImageTransformer2DModel, dict[str, tuple[int, int]]]:
    model: Any = COMPONENTS["z_image"]()["transformer"]
    attention = model.layers[0].attention
    width = attention.to_out[0].in_features
    return model, {
        "layers.0.attention.out": (width, attention.to_out[0].out_features),
        "noise_refiner.0.attention.out": (width, attention.to_out[0].out_features),
    }


def merged(model: nn.Module, file: Path) -> Tensors:
    lora = read_lora(file)
    check_fits(model, "denoiser", [lora])
    merge(model, "denoiser", [(lora, 0.5)])
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "prefix", "joint", "ends", "library"),
    [
        (
            flux2,
            "diffusion_model.",
            ".",
            "lora_A lora_B",
            "_convert_non_diffusers_flux2_lora_to_diffusers",
        ),
        (flux2, "lora_unet_", "_", "lora_down lora_up", "_convert_kohya_flux2_lora_to_diffusers"),
        (
            z_image,
            "diffusion_model.",
            ".",
            "lora_down lora_up",
            "_convert_non_diffusers_z_image_lora_to_diffusers",
        ),
    ],
)
def test_every_module_is_where_diffusers_puts_it(
    make: Callable[[], tuple[nn.Module, dict[str, tuple[int, int]]]],
    prefix: str,
    joint: str,
    ends: str,
    library: str,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model, sizes = make()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    tensors = matrices(sizes, prefix, joint, ends)
    save_file(tensors, tmp_path / "original.safetensors")
    theirs = getattr(LIBRARY, library)(dict(tensors))
    theirs = {f"transformer.{name.removeprefix('transformer.')}": v for name, v in theirs.items()}
    save_file(
        {name: v.contiguous().clone() for name, v in theirs.items()}, tmp_path / "d.safetensors"
    )
    found = merged(model, tmp_path / "original.safetensors")
    model.load_state_dict(start)
    expected = merged(model, tmp_path / "d.safetensors")
    changed = [name for name in start if not torch.equal(start[name], expected[name])]
    assert len(changed) >= len(sizes)
    for name in start:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_a_module_in_both_namings_is_refused(tmp_path: Path) -> None:
    _, sizes = flux2()
    tensors = matrices(sizes, "diffusion_model.", ".", "lora_A lora_B")
    inputs, outputs = sizes["double_blocks.0.img_attn.proj"]
    tensors |= matrices(
        {"transformer_blocks.0.attn.to_out.0": (inputs, outputs)},
        "transformer.",
        ".",
        "lora_A lora_B",
    )
    save_file(tensors, tmp_path / "both.safetensors")
    with pytest.raises(WeightsError, match=r"^both.safetensors: has two tensors for one place"):
        read_lora(tmp_path / "both.safetensors")


@pytest.mark.parametrize(
    ("module", "size"),
    [("double_blocks.0.img_attn.qkv", (16, 47)), ("double_blocks.7.img_mod.lin", (16, 16))],
)
def test_what_has_no_place_is_named(module: str, size: tuple[int, int], tmp_path: Path) -> None:
    model, _ = flux2()
    save_file(
        matrices({module: size}, "diffusion_model.", ".", "lora_A lora_B"),
        tmp_path / "x.safetensors",
    )
    with pytest.raises(WeightsError, match="which this model's denoiser does not have"):
        check_fits(model, "denoiser", [read_lora(tmp_path / "x.safetensors")])
