"""The autoencoder: latents of mean 0 and variance 1, the same pictures, files."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.latent_space import encode_images
from dreamfusion_kit.toybox.latent_settings import VaeTrainingSection
from dreamfusion_kit.toybox.vae_model import (
    decoded,
    load_vae,
    make_vae,
    save_vae,
    scaled_latents,
    standardise,
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 16, 16, 3, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_standardised_latents_have_mean_0_and_variance_1(
    vae_settings: VaeTrainingSection, images: torch.Tensor
) -> None:
    vae = make_vae(vae_settings, 16)
    before = decoded(vae, scaled_latents(vae, images))
    standardise(vae, vae.encode(images.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode())
    latents = scaled_latents(vae, images)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(decoded(vae, latents), before, atol=1e-4, rtol=0)


@torch.no_grad()
def test_standardising_scales_the_noise_with_the_latents(
    vae_settings: VaeTrainingSection, images: torch.Tensor
) -> None:
    vae = make_vae(vae_settings, 16)
    signed = images.permute(0, 3, 1, 2) * 2 - 1
    before = vae.encode(signed).latent_dist
    standardise(vae, before.mean)
    after = vae.encode(signed).latent_dist
    ratio = after.mean.std(dim=(0, 2, 3)) / before.mean.std(dim=(0, 2, 3))
    torch.testing.assert_close(after.std, before.std * ratio[:, None, None], rtol=1e-3, atol=0)


@torch.no_grad()
def test_the_kit_reads_the_same_latents(
    vae_settings: VaeTrainingSection, images: torch.Tensor, tmp_path: Path
) -> None:
    save_vae(make_vae(vae_settings, 16), tmp_path / "vae")
    ours = scaled_latents(load_vae(tmp_path / "vae", torch.device("cpu")), images)
    encoder = load_model(AutoencoderKL, tmp_path / "vae", dtype=torch.float32)
    theirs = encode_images(encoder, images.permute(0, 3, 1, 2), 16)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_missing_vae_says_what_to_train(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vae/config\.json: not there.*toybox train-vae"):
        load_vae(tmp_path / "vae", torch.device("cpu"))


def test_files_do_not_depend_on_where_the_vae_came_from(
    vae_settings: VaeTrainingSection, tmp_path: Path
) -> None:
    """Two trainings write the same autoencoder: its own, and that of the prior on its latents."""
    state = torch.get_rng_state()
    save_vae(make_vae(vae_settings, 16), tmp_path / "first")
    save_vae(load_vae(tmp_path / "first", torch.device("cpu")), tmp_path / "second")
    written = sorted((tmp_path / "first").iterdir())
    assert len(written) == 2
    for path in written:
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes(), path.name
    assert torch.equal(torch.get_rng_state(), state)
