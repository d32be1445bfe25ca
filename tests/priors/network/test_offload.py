"""Where weights wait: groups and 8 bits, with the same prediction or one near it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.network import offload
from dreamfusion_kit.priors.network.offload import placed

from ..conftest import build_unet  # noqa: TID252
from ..test_latent_unet import TIMESTEP, section  # noqa: TID252


def predict(directory: Path, **changes: Any) -> tuple[torch.Tensor, Any]:
    prior: Any = build_prior(section(**changes), directory, "cpu")
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.predict(noisy, TIMESTEP, prior.encode_text(["a mug", ""])), prior


def test_eight_bits_are_near_and_take_a_quarter(stable_diffusion: Path) -> None:
    expected, _ = predict(stable_diffusion)
    found, prior = predict(stable_diffusion, storage_dtype="float8_e4m3fn")
    assert 0 < float((found - expected).norm()) < 0.1 * float(expected.norm())
    kinds = {value.dtype for value in prior._denoiser.parameters()}
    assert kinds == {torch.float8_e4m3fn, torch.float32}  # norms and embeddings stay


@pytest.mark.parametrize("value", [True, "group"])
def test_offload_changes_nothing(stable_diffusion: Path, value: Any) -> None:
    expected, _ = predict(stable_diffusion)
    found, _ = predict(stable_diffusion, cpu_offload=value)
    assert torch.equal(found, expected)


def test_groups_move_one_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks are diffusers' own; here only what they are asked for, as no GPU is at hand."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(offload, "apply_group_offloading", lambda _, **keys: asked.append(keys))
    unet = build_unet(4, 4, 8)
    assert placed(unet, section(cpu_offload="group"), torch.device("cuda")) is unet
    assert asked == [
        {
            "onload_device": torch.device("cuda"),
            "offload_device": torch.device("cpu"),
            "offload_type": "block_level",
            "num_blocks_per_group": 1,
        }
    ]
    assert {value.device.type for value in unet.parameters()} == {"cpu"}
