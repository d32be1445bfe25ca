"""A VAE in place of a model's own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.additions_check import check_additions
from dreamfusion_kit.priors.build import build_prior

from ..conftest import build_vae  # noqa: TID252
from ..source.single_file_writer import original_vae  # noqa: TID252
from ..test_latent_unet import section  # noqa: TID252

LOCAL = {"kind": "local", "path": "vae"}
BLOCKS = ("block_out_channels", "down_block_types", "up_block_types")


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Return the folder of another VAE of the same architecture."""
    torch.manual_seed(7)
    build_vae(4, 0.18215).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def latents(directory: Path, path: Path | None) -> torch.Tensor:
    keys: dict[str, Any] = {} if path is None else {"vae": LOCAL}
    paths = {} if path is None else {"vae": path}
    check_additions(Adapted(section(**keys), directory, paths))
    return build_prior(section(**keys), directory, "cpu", paths).to_model_space(images())


def test_its_folder_and_both_layouts_of_one_file_are_read(
    stable_diffusion: Path, tuned: Path, tmp_path: Path
) -> None:
    vae = AutoencoderKL.from_pretrained(tuned).eval()
    with torch.no_grad():
        expected = vae.encode(2 * images() - 1).latent_dist.mean * 0.18215
    weights = tuned / "diffusion_pytorch_model.safetensors"
    original = tmp_path / "original.safetensors"
    save_file({name: rows.contiguous() for name, rows in original_vae(vae).items()}, original)
    for path in (tuned, weights, original):
        torch.testing.assert_close(latents(stable_diffusion, path), expected)
    assert not torch.allclose(latents(stable_diffusion, None), expected)


def test_a_whole_model_s_folder_gives_its_vae(
    stable_diffusion: Path, tuned: Path, tmp_path: Path
) -> None:
    shutil.copytree(tuned, tmp_path / "model" / "vae")
    torch.testing.assert_close(
        latents(stable_diffusion, tmp_path / "model"), latents(stable_diffusion, tuned)
    )


def test_other_latents_are_refused(stable_diffusion: Path, tuned: Path) -> None:
    config = json.loads((tuned / "config.json").read_text())
    (tuned / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.13025}))
    with pytest.raises(WeightsError, match=r"at a scale of 0\.13025; expected the 4 at 0\.18215"):
        latents(stable_diffusion, tuned)


def test_another_architecture_is_refused(stable_diffusion: Path, tuned: Path) -> None:
    file = tuned / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["encoder.conv_in.weight"]
    save_file(tensors, file)
    with pytest.raises(WeightsError, match="is not a VAE of this architecture"):
        latents(stable_diffusion, file)


def test_a_damaged_file_of_the_original_layout_is_refused(
    stable_diffusion: Path, tuned: Path, tmp_path: Path
) -> None:
    """Its renaming by diffusers fails at an upsampler without its bias."""
    tensors = original_vae(AutoencoderKL.from_pretrained(tuned))
    file = tmp_path / "original.safetensors"
    kept = {name: rows for name, rows in tensors.items() if not name.endswith("upsample.conv.bias")}
    assert len(kept) < len(tensors)
    save_file({name: rows.contiguous() for name, rows in kept.items()}, file)
    with pytest.raises(WeightsError, match="is not a VAE of this architecture"):
        latents(stable_diffusion, file)


def test_a_single_file_is_read_at_the_model_s_scale(stable_diffusion: Path, tuned: Path) -> None:
    """It has no configuration, so its own scale is not known; a folder's would be refused."""
    at_own_scale = latents(stable_diffusion, tuned)
    config = json.loads((tuned / "config.json").read_text())
    (tuned / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.13025}))
    file = tuned / "diffusion_pytorch_model.safetensors"
    assert torch.equal(latents(stable_diffusion, file), at_own_scale)


def test_latents_of_another_size_are_refused(stable_diffusion: Path, tuned: Path) -> None:
    """Twice as deep a VAE has the channels and scale, and half as many latents."""
    config = json.loads((tuned / "config.json").read_text())
    deeper = {name: [config[name][0], *config[name]] for name in BLOCKS}
    (tuned / "config.json").write_text(json.dumps(config | deeper))
    with pytest.raises(WeightsError, match="latents of 4 pixels a side; expected the 2 that"):
        latents(stable_diffusion, tuned)
