"""What is missing from a trained model's directory is named, and the command that writes it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from dreamfusion_kit import packaged
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.toybox.latent_model import load_latent
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.saved_model import half_precision
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.text_model import load_text_encoder, load_tokenizer


def without(model: str, file: str, folder: Path) -> Path:
    """Return a copy of a shipped model that lacks a file."""
    shutil.copytree(packaged.MODELS / model, folder / model)
    (folder / model / file).unlink()
    return folder / model


@pytest.mark.parametrize(
    ("load", "model", "file", "command"),
    [
        (load_tokenizer, "prior", "tokenizer/tokenizer.json", "train-prior"),
        (load_text_encoder, "prior", "text_encoder/model.safetensors", "train-prior"),
        (load_latent, "latent", "vae/config.json", "train-vae"),
        (load_latent, "latent", "unet/diffusion_pytorch_model.safetensors", "train-latent"),
    ],
)
def test_a_missing_file_is_one_line_with_the_command_that_writes_it(
    tmp_path: Path, load: Callable[[Path], object], model: str, file: str, command: str
) -> None:
    directory = without(model, file, tmp_path)
    with pytest.raises(WeightsError, match=rf"{file}: not there.*toybox {command}`") as caught:
        load(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["unet/config.json", "tokenizer/tokenizer.json"])
def test_a_prior_that_is_not_complete_is_refused(
    prior_settings: PriorTrainingSection, tmp_path: Path, file: str
) -> None:
    directory = without("prior", file, tmp_path)
    with pytest.raises(WeightsError, match=rf"{file}: not there.*toybox train-prior`"):
        ToyboxPrior(prior_settings, 16).load_pretrained(directory)


def test_a_prior_of_other_settings_is_refused(prior_settings: PriorTrainingSection) -> None:
    with pytest.raises(WeightsError, match="another architecture") as caught:
        ToyboxPrior(prior_settings, 16).load_pretrained(packaged.MODELS / "prior")
    assert "\n" not in str(caught.value)


def test_the_copy_that_is_saved_is_rounded_and_dense_and_the_model_stays() -> None:
    model = nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)
    before = model.weight.detach().clone()
    half = half_precision(model)
    assert half.weight.dtype == torch.float16
    assert half.weight.is_contiguous()
    assert torch.equal(half.weight, before.half())
    assert torch.equal(model.weight, before)
