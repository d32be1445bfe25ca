"""LoRAs in kohya's and diffusers' layouts, against a merge written out by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.addition.lora_merge import merge, read_lora
from dreamfusion_kit.priors.additions_check import check_additions
from dreamfusion_kit.priors.build import build_prior

from ..test_latent_unet import PROMPTS, TIMESTEP, section  # noqa: TID252

# Modules of the tiny U-Net and text encoder: the second by a convolution, the last by a linear.
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUTPUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
WORDS = "encoder.layers.0.self_attn.q_proj"
RANK, ALPHA, SCALE = 2, 1.0, 0.7


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def matrices(width: int = 8) -> dict[str, tuple[Tensor, Tensor]]:
    """Return down and up by module."""
    return {
        f"unet.{QUERY}": (draw(RANK, width), draw(width, RANK)),
        f"unet.{OUTPUT}": (draw(RANK, width), draw(width, RANK)),
        f"unet.{CONVOLUTION}": (draw(RANK, width, 3, 3), draw(width, RANK, 1, 1)),
        f"text_encoder.{WORDS}": (draw(RANK, 12), draw(12, RANK)),
    }


def kohya(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path, (down, up) in pairs.items():
        component, _, module = path.partition(".")
        start = "lora_unet_" if component == "unet" else "lora_te_text_model_"
        name = start + module.replace(".", "_")
        found |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        found[f"{name}.alpha"] = torch.tensor(ALPHA)
    return found


def peft(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """As diffusers saves it: without alphas, which are folded in here."""
    found: dict[str, Tensor] = {}
    for path, (down, up) in pairs.items():
        name = path.replace("text_encoder.", "text_encoder.text_model.")
        found |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up * ALPHA / RANK}
    return found


def processors(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """As diffusers saved it before peft: attention alone, behind its processor."""
    found: dict[str, Tensor] = {}
    for path, (down, up) in pairs.items():
        if "attn" not in path or "text_encoder" in path:
            continue
        parent, _, child = path.removesuffix(".0").rpartition(".")
        name = f"{parent}.processor.{child}_lora"
        found |= {f"{name}.down.weight": down, f"{name}.up.weight": up * ALPHA / RANK}
    return found


Layout = Callable[[dict[str, tuple[Tensor, Tensor]]], dict[str, Tensor]]


def merged_by_hand(directory: Path, names: list[str]) -> UNet2DConditionModel:
    unet = UNet2DConditionModel.from_pretrained(directory / "unet").eval()
    state = unet.state_dict()
    for name in names:
        down, up = matrices()[f"unet.{name}"]
        change = torch.einsum("or,r...->o...", up.flatten(1), down)
        state[f"{name}.weight"] += SCALE * ALPHA / RANK * change
    unet.load_state_dict(state)
    return unet


def lora_file(folder: Path, tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Path]]:
    file = folder / "style.safetensors"
    save_file({name: rows.contiguous() for name, rows in tensors.items()}, file)
    source = {"kind": "file", "path": file.name, "sha256": "0" * 64}
    return {"loras": ({"source": source, "scale": SCALE},)}, {"loras.0": file}


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (kohya, [QUERY, OUTPUT, CONVOLUTION]),
        (peft, [QUERY, OUTPUT, CONVOLUTION]),
        (processors, [QUERY, OUTPUT]),
    ],
)
def test_a_prediction_is_that_of_the_merged_model(
    stable_diffusion: Path, tmp_path: Path, layout: Layout, names: list[str]
) -> None:
    keys, paths = lora_file(tmp_path, layout(matrices()))
    check_additions(Adapted(section(**keys), stable_diffusion, paths))
    prior: Any = build_prior(section(**keys), stable_diffusion, "cpu", paths)
    plain: Any = build_prior(section(), stable_diffusion, "cpu")
    text, other = prior.encode_text(PROMPTS), plain.encode_text(PROMPTS)
    has_text = layout is not processors
    changed = not torch.equal(text.tensors["hidden"], other.tensors["hidden"])
    assert changed == has_text
    noisy = draw(2, 4, 8, 8)
    with torch.no_grad():
        unet = merged_by_hand(stable_diffusion, names)
        expected = unet(noisy, TIMESTEP, text.tensors["hidden"]).sample
    torch.testing.assert_close(prior.predict(noisy, TIMESTEP, text), expected, rtol=1e-4, atol=1e-5)
    before = plain.predict(noisy, TIMESTEP, other)
    assert not torch.allclose(prior.predict(noisy, TIMESTEP, text), before, atol=1e-3)


def test_both_layouts_change_the_text_alike(stable_diffusion: Path, tmp_path: Path) -> None:
    rows: list[Tensor] = []
    for layout in (kohya, peft):
        keys, paths = lora_file(tmp_path, layout(matrices()))
        prior = build_prior(section(**keys), stable_diffusion, "cpu", paths)
        rows.append(prior.encode_text(PROMPTS).tensors["hidden"])
    torch.testing.assert_close(*rows)


def test_names_of_the_original_repository_are_those_of_sdxl(
    stable_diffusion_xl: Path, tmp_path: Path
) -> None:
    """SDXL files of kohya count blocks: at one layer a level, block 3 is level 1's first."""
    theirs = "input_blocks_3_1_transformer_blocks_0_attn1_to_q", "input_blocks_1_0_in_layers_2"
    ours = QUERY.replace(".", "_"), CONVOLUTION.replace(".", "_")
    found: list[Tensor] = []
    for name, path in zip((*theirs, *ours), (QUERY, CONVOLUTION) * 2, strict=True):
        down, up = matrices()[f"unet.{path}"]
        file = tmp_path / "lora.safetensors"
        start = f"lora_unet_{name}"
        save_file({f"{start}.lora_down.weight": down, f"{start}.lora_up.weight": up}, file)
        unet = UNet2DConditionModel.from_pretrained(stable_diffusion_xl / "unet")
        merge(unet, "denoiser", [(read_lora(file, layers_per_block=1), 1.0)])
        found.append(unet.state_dict()[f"{path}.weight"])
    before = load_file(next((stable_diffusion_xl / "unet").glob("*.safetensors")))
    for index, path in enumerate((QUERY, CONVOLUTION)):
        assert torch.equal(found[index], found[index + 2])
        assert not torch.equal(found[index], before[f"{path}.weight"])


def test_loras_add_up(stable_diffusion: Path, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    save_file(kohya(matrices()), file)
    lora = read_lora(file)
    one, two = (UNet2DConditionModel.from_pretrained(stable_diffusion / "unet") for _ in "ab")
    merge(one, "denoiser", [(lora, 0.25), (lora, 0.5)])
    merge(two, "denoiser", [(lora, 0.75)])
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name])


ENDS = (".lora_up.weight", ".lora_down.weight")
KEY = "lora_unet_" + QUERY.replace(".", "_")


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{KEY}.dora_scale": draw(8)}, "is a DoRA"),
        ({f"{KEY}.hada_w1_a": draw(8)}, "is a LoHa"),
        ({f"{KEY}.lokr_w1": draw(8)}, "is a LoKr"),
        ({f"{KEY}.lora_mid.weight": draw(8)}, "is a LoCon in three parts"),
        ({f"{KEY}.diff": draw(8)}, "is a difference of whole weights"),
        ({f"{KEY}.lora_up.weight": draw(8, 2)}, "lacks one of its two matrices"),
        ({"something.weight": draw(8)}, "which is not a tensor of a LoRA"),
        ({}, "holds no tensor, and would change nothing"),
        (
            {
                "lora_unet_mid_block_x.lora_up.weight": draw(8, 2),
                "lora_unet_mid_block_x.lora_down.weight": draw(2, 8),
            },
            "adapts mid_block_x, which this model's denoiser does not have",
        ),
        (
            {"lora_te2_x.lora_up.weight": draw(8, 2), "lora_te2_x.lora_down.weight": draw(2, 8)},
            "text_encoder_2 does not have",
        ),
        ({f"{KEY}.lora_up.weight": draw(8), f"{KEY}.lora_down.weight": draw(8)}, "expected a mat"),
        (
            {f"{KEY}.lora_up.weight": draw(8, 0), f"{KEY}.lora_down.weight": draw(0, 8)},
            "has a down of .0, 8. in torch.float32; expected a matrix of floats",
        ),
        (kohya(matrices()) | {f"{KEY}.alpha": draw(2)}, "has an alpha of .2,.; expected one"),
        (kohya(matrices()) | {f"{KEY}.alpha": torch.tensor(torch.nan)}, "expected one finite"),
        (
            kohya({f"unet.{QUERY}": (draw(2, 8) / 0, draw(8, 2))}),
            "has a down with numbers that are not finite; expected a LoRA of a training",
        ),
        (
            kohya(matrices()) | {f"lora_unet_input_blocks_3_1_x{end}": draw(2, 2) for end in ENDS},
            "names blocks of the U-Net in two ways",
        ),
        (kohya(matrices()) | peft(matrices()), "has two tensors for one place"),
        (kohya({f"unet.{QUERY}": (draw(2, 320), draw(320, 2))}), "is for a weight of 320 x 320"),
    ],
)
def test_other_files_are_refused_before_a_model_is_read(
    stable_diffusion: Path, tmp_path: Path, tensors: dict[str, Tensor], said: str
) -> None:
    keys, paths = lora_file(tmp_path, tensors)
    with pytest.raises(WeightsError, match=said):
        check_additions(Adapted(section(**keys), stable_diffusion, paths))


def test_a_pickle_is_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=r"lora\.safetensors: cannot be read"):
        read_lora(file)


def with_header(folder: Path, header: str) -> Path:
    """Return a file of diffusers' layout without alphas, whose header has them."""
    pairs = matrices()
    names = (f"unet.{QUERY}", f"text_encoder.{WORDS}")
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= {
            f"{name}.lora_A.weight": pairs[name][0],
            f"{name}.lora_B.weight": pairs[name][1],
        }
    save_file(tensors, folder / "lora.safetensors", {"lora_adapter_metadata": header})
    return folder / "lora.safetensors"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"unet.lora_alpha": 1, "text_encoder.lora_alpha": 3}, (1 / RANK, 3 / RANK)),
        ({"unet.lora_alpha": 4, "unet.use_rslora": True}, (4 / RANK**0.5, 1.0)),
        ({"unet.lora_alpha": 4, "unet.use_rslora": False}, (4 / RANK, 1.0)),
        ({"lora_alpha": 4}, (4 / RANK, 4 / RANK)),
        ({}, (1.0, 1.0)),
    ],
)
def test_each_component_has_the_strength_of_its_header(
    stable_diffusion: Path, tmp_path: Path, settings: Any, expected: tuple[float, float]
) -> None:
    lora = read_lora(with_header(tmp_path, json.dumps(settings)))
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion / "unet")
    text = CLIPTextModel.from_pretrained(stable_diffusion / "text_encoder")
    places = (
        (unet, "denoiser", f"unet.{QUERY}"),
        (text, "text_encoder", f"text_encoder.{WORDS}"),
    )
    for (model, component, name), strength in zip(places, expected, strict=True):
        weight = model.get_submodule(name.partition(".")[2]).weight
        before = weight.detach().clone()
        merge(model, component, [(lora, 1.0)])
        down, up = matrices()[name]
        torch.testing.assert_close(weight.detach(), before + strength * up @ down)
