"""The trainings on latents: a kill changes no byte, the sheet changes nothing, the loss falls."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox import progress_sheet
from dreamfusion_kit.toybox import train_denoiser as module
from dreamfusion_kit.toybox.caption_table import CaptionTable
from dreamfusion_kit.toybox.denoiser import Denoiser, Text
from dreamfusion_kit.toybox.flow_model import ToyboxFlow
from dreamfusion_kit.toybox.latent_model import make_latent
from dreamfusion_kit.toybox.latent_settings import (
    DenoiserTrainingSection,
    FlowTrainingSection,
    LatentTrainingSection,
    ShelfSection,
    VaeTrainingSection,
)
from dreamfusion_kit.toybox.vae_model import make_vae

CPU = torch.device("cpu")
TEXT = Path(__file__).parents[2] / "dreamfusion_kit/toybox/weights/prior"


class KilledError(Exception):
    """Stands for a kill between two steps."""


class Training:
    """One of the two models with its settings."""

    def __init__(
        self,
        settings: LatentTrainingSection | FlowTrainingSection,
        renders: ShelfSection,
        vae: VaeTrainingSection,
    ) -> None:
        self.settings, self.renders, self.vae = settings, renders, vae

    def run(
        self, scratch: Path, *, kill_at: int = -1, **changes: object
    ) -> tuple[list[float], list[torch.Tensor]]:
        """Return the losses and the trained parameters."""
        settings = self.settings.model_copy(update=changes)
        losses: list[float] = []

        def report(step: int, loss: float) -> None:
            losses.append(loss)
            if step == kill_at:
                raise KilledError

        model = self._model(settings)
        module.train_denoiser(model, settings, self.renders, scratch, device=CPU, report=report)
        return losses, [parameter.detach() for parameter in model.network.parameters()]

    def _model(self, settings: DenoiserTrainingSection) -> Denoiser:
        vae = make_vae(self.vae, 16).eval()
        if isinstance(settings, LatentTrainingSection):
            return make_latent(settings, vae, TEXT)
        assert isinstance(settings, FlowTrainingSection)
        return ToyboxFlow(settings, vae, TEXT)


@pytest.fixture(scope="module")
def encoded() -> dict[type[Denoiser], Text]:
    """Return the features of all captions by each model's text encoder, once they are known."""
    return {}


@pytest.fixture(autouse=True)
def _encode_once(encoded: dict[type[Denoiser], Text], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first training of each model encode the seven thousand captions for all of them.

    The encoders are frozen and read from the same files. Encoding took most of these tests' time.
    """
    encode = module._features  # pyright: ignore[reportPrivateUsage]

    def features(model: Denoiser, table: CaptionTable) -> Text:
        if type(model) not in encoded:
            encoded[type(model)] = encode(model, table)
        return encoded[type(model)]

    monkeypatch.setattr(module, "_features", features)


@pytest.fixture(params=["latent", "flow"])
def training(
    request: pytest.FixtureRequest, shelf_settings: ShelfSection, vae_settings: VaeTrainingSection
) -> Training:
    settings = request.getfixturevalue(f"{request.param}_settings")
    return Training(settings, shelf_settings, vae_settings)


def test_a_killed_training_ends_with_the_same_bytes(training: Training, tmp_path: Path) -> None:
    """The kill is one step past the checkpoint at step 2, on the second shelf."""
    _, whole = training.run(tmp_path / "whole")
    with pytest.raises(KilledError):
        training.run(tmp_path / "killed", kill_at=3)
    _, resumed = training.run(tmp_path / "killed")
    assert all(map(torch.equal, resumed, whole))


def test_training_lowers_the_loss(training: Training, tmp_path: Path) -> None:
    losses, _ = training.run(
        tmp_path,
        num_steps=80,
        batch_size=16,
        learning_rate=5e-3,
        steps_per_shelf=1000,
        checkpoint_every_steps=80,
    )
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_a_sample_sheet_changes_nothing(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_sheet, "_STEPS", 1)
    _, without = training.run(tmp_path / "without")
    _, drawing = training.run(tmp_path / "with", sample_every_steps=2)
    assert all(map(torch.equal, drawing, without))
    sheets = sorted((tmp_path / "with").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["samples-000002.png", "samples-000004.png"]
