"""The prior's training: a kill changes no byte, the sheet changes nothing, words are learned."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox import progress_sheet
from dreamfusion_kit.toybox import train_prior as module
from dreamfusion_kit.toybox.captions import NUM_ATTRIBUTES, attributes
from dreamfusion_kit.toybox.latent_settings import ShelfSection
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.settings import PriorTrainingSection

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: PriorTrainingSection, renders: ShelfSection, scratch: Path, *, kill_at: int = -1
) -> tuple[list[float], ToyboxPrior]:
    """Return the losses and the trained model; raise `KilledError` as a step is reported."""
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step == kill_at:
            raise KilledError

    return losses, module.train_prior(settings, renders, scratch, device=CPU, report=report)


def same(first: ToyboxPrior, second: ToyboxPrior) -> bool:
    return all(map(torch.equal, first.parameters(), second.parameters()))


def test_a_killed_training_ends_with_the_same_bytes(
    prior_settings: PriorTrainingSection, shelf_settings: ShelfSection, tmp_path: Path
) -> None:
    """The kill is one step past the checkpoint at step 2, on the second shelf."""
    before = torch.get_rng_state()
    _, whole = train(prior_settings, shelf_settings, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(prior_settings, shelf_settings, tmp_path / "killed", kill_at=3)
    _, resumed = train(prior_settings, shelf_settings, tmp_path / "killed")
    assert same(resumed, whole)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_loss(
    prior_settings: PriorTrainingSection, shelf_settings: ShelfSection, tmp_path: Path
) -> None:
    settings = prior_settings.model_copy(
        update={
            "num_steps": 60,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "steps_per_shelf": 1000,
            "checkpoint_every_steps": 60,
        }
    )
    losses, _ = train(settings, shelf_settings, tmp_path)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_a_sample_sheet_changes_nothing(
    prior_settings: PriorTrainingSection,
    shelf_settings: ShelfSection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_sheet, "_STEPS", 1)
    _, without = train(prior_settings, shelf_settings, tmp_path / "without")
    drawing = prior_settings.model_copy(update={"sample_every_steps": 2})
    assert same(train(drawing, shelf_settings, tmp_path / "with")[1], without)
    sheets = sorted((tmp_path / "with").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["samples-000002.png", "samples-000004.png"]


def test_every_caption_has_its_tokens_and_what_it_says(
    prior_settings: PriorTrainingSection,
) -> None:
    """The text encoder reads a batch's rows as it reads its captions."""
    model = ToyboxPrior(prior_settings, 16)
    words = module._words(model, CPU)  # pyright: ignore[reportPrivateUsage]
    for number in (0, 1, 999, len(words.table.captions) - 1):
        caption = words.table.captions[number]
        assert tuple(words.attributes[number].tolist()) == attributes(caption)
        found = model.encode_tokens(words.tokens[number : number + 1])
        torch.testing.assert_close(found, model.encode([caption]))
    nothing = [count - 1 for count in NUM_ATTRIBUTES]
    assert words.table.captions[0] == ""
    assert words.attributes[0].tolist() == nothing


def test_the_attribute_head_learns_the_views(
    prior_settings: PriorTrainingSection, shelf_settings: ShelfSection, tmp_path: Path
) -> None:
    """With its loss switched on the text features of two views move apart."""

    def distance(attribute_lambda: float) -> float:
        settings = prior_settings.model_copy(
            update={
                "attribute_lambda": attribute_lambda,
                "learning_rate": 1e-2,
                "num_steps": 24,
                "warmup_steps": 1,
                "decay_steps": 1,
                "ema_decay": 0.0,
                "steps_per_shelf": 1000,
            }
        )
        _, model = train(settings, shelf_settings, tmp_path / str(attribute_lambda))
        front, back = model.encode(["a red mug, front view", "a red mug, back view"])
        return float((front - back).mean(0).norm().detach())

    assert distance(1.0) > 1.5 * distance(0.0)
