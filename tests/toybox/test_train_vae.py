"""The autoencoder's training: a kill changes no byte, and pictures come through better."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox import train_vae as module
from dreamfusion_kit.toybox.latent_settings import ShelfSection, VaeTrainingSection

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(autouse=True)
def _few_measured_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEASURED_IMAGES", 16)


def train(
    settings: VaeTrainingSection, renders: ShelfSection, scratch: Path, *, kill_at: int = -1
) -> torch.nn.Module:
    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    return module.train_vae(settings, renders, scratch, device=CPU, report=report)


def test_a_killed_training_ends_with_the_same_bytes(
    vae_settings: VaeTrainingSection, shelf_settings: ShelfSection, tmp_path: Path
) -> None:
    """The kill is one step past the checkpoint at step 2, on the second shelf."""
    whole = train(vae_settings, shelf_settings, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(vae_settings, shelf_settings, tmp_path / "killed", kill_at=3)
    resumed = train(vae_settings, shelf_settings, tmp_path / "killed")
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_training_improves_what_comes_through(
    vae_settings: VaeTrainingSection, shelf_settings: ShelfSection, tmp_path: Path
) -> None:
    settings = vae_settings.model_copy(
        update={"num_steps": 60, "warmup_steps": 5, "decay_steps": 20, "learning_rate": 3e-3}
    )
    settings = settings.model_copy(update={"steps_per_shelf": 1000, "checkpoint_every_steps": 60})
    first = module.make_vae(settings, 16)
    before = module.reconstruction_psnr(first, settings, shelf_settings)
    trained = train(settings, shelf_settings, tmp_path)
    assert module.reconstruction_psnr(trained, settings, shelf_settings) > before + 1


def test_psnr_of_a_known_error(
    vae_settings: VaeTrainingSection,
    shelf_settings: ShelfSection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of 0.1 everywhere is 20 dB."""
    monkeypatch.setattr(module, "scaled_latents", lambda vae, images: images)
    monkeypatch.setattr(module, "decoded", lambda vae, latents: latents + 0.1)
    vae = module.make_vae(vae_settings, 16)
    found = module.reconstruction_psnr(vae, vae_settings, shelf_settings)
    assert found == pytest.approx(20.0, abs=1e-3)
