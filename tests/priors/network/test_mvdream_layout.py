"""MVDream's published layout: loaded, it computes what a plain network of its names computes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.network.multi_view import seen_from
from dreamfusion_kit.priors.network.mvdream_layout import load_mvdream

from ..mvdream_network import MvdreamNetwork  # noqa: TID252

WEIGHTS = "diffusion_pytorch_model.safetensors"


def written(directory: Path, **config: object) -> MvdreamNetwork:
    torch.manual_seed(0)
    network = MvdreamNetwork().eval().requires_grad_(False)
    (directory / "unet").mkdir()
    text = json.dumps(MvdreamNetwork.CONFIG | config)
    (directory / "unet" / "config.json").write_text(text)
    save_file(network.state_dict(), directory / "unet" / WEIGHTS)
    return network


@pytest.mark.parametrize("views", [2, 4])
def test_it_is_the_network_of_the_paper(tmp_path: Path, views: int) -> None:
    network = written(tmp_path)
    unet = load_mvdream(tmp_path, views, dtype=torch.float32)
    draw = torch.Generator().manual_seed(1)
    noisy = torch.randn(8, 4, 8, 8, generator=draw)
    text = torch.randn(8, 5, 12, generator=draw)
    cameras = torch.randn(8, 16, generator=draw)
    timestep = torch.tensor([10, 400]).repeat_interleave(4)
    with seen_from(unet, cameras):
        found = unet(noisy, timestep, text).sample
    torch.testing.assert_close(
        found, network(noisy, timestep, text, cameras, views), rtol=1e-4, atol=1e-5
    )
    assert not any(parameter.requires_grad for parameter in unet.parameters())


def test_numbers_are_converted_once(tmp_path: Path) -> None:
    written(tmp_path)
    unet = load_mvdream(tmp_path, 4, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["camera_embed.0.weight", "input_blocks.1.0.in_layers.2.weight"])
@pytest.mark.parametrize("fault", ["missing", "another shape", "too many"])
def test_other_tensors_are_refused(tmp_path: Path, name: str, fault: str) -> None:
    written(tmp_path)
    path = tmp_path / "unet" / WEIGHTS
    tensors = load_file(path)
    match fault:
        case "missing":
            del tensors[name]
        case "another shape":
            tensors[name] = tensors[name][:-1].clone()
        case _:
            tensors["image_embed.latents"] = torch.zeros(1)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"unet: .*expected"):
        load_mvdream(tmp_path, 4, dtype=torch.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ip_dim": 16}, "ip_dim"),
        ({"camera_dim": 7}, "camera_dim"),
        ({"num_head_channels": 24}, "num_head_channels"),
        ({"_class_name": "UNet2DConditionModel"}, "expected MultiViewUNetModel"),
    ],
)
def test_other_configurations_are_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    written(tmp_path, **change)
    with pytest.raises(WeightsError, match=said):
        load_mvdream(tmp_path, 4, dtype=torch.float32)


def test_a_damaged_or_ambiguous_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_mvdream(tmp_path, 4, dtype=torch.float32)
    (tmp_path / "unet" / "other.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="holds 2 safetensors files"):
        load_mvdream(tmp_path, 4, dtype=torch.float32)
