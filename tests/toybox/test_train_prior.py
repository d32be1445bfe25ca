"""The prior's training: a kill changes no byte, the sheet changes nothing."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamfusion_kit.toybox import train_prior as module
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.shapes import OBJECTS

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: PriorTrainingSection,
    dataset: Dataset,
    scratch: Path,
    *,
    kill_at: int | None = None,
    workers: int = 0,
) -> list[torch.Tensor]:
    """Return the trained parameters; raise `KilledError` as step `kill_at` is reported."""

    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    model = module.train_prior(
        settings, dataset, scratch, device=CPU, workers=workers, report=report
    )
    return [parameter.detach() for parameter in model.parameters()]


def test_a_killed_training_ends_with_the_same_bytes(
    prior_settings: PriorTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(prior_settings, dataset, tmp_path / "whole")
    with pytest.raises(KilledError):  # one step past the checkpoint at step 2
        train(prior_settings, dataset, tmp_path / "killed", kill_at=2)
    resumed = train(prior_settings, dataset, tmp_path / "killed")
    assert all(map(torch.equal, resumed, whole))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # from Python 3.12 on
def test_whoever_draws_the_batches_they_are_the_same(
    prior_settings: PriorTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    alone = train(prior_settings, dataset, tmp_path / "alone")
    helped = train(prior_settings, dataset, tmp_path / "helped", workers=2)
    assert all(map(torch.equal, helped, alone))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_moves_the_weights(
    prior_settings: PriorTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    short = prior_settings.model_copy(update={"num_steps": 2})
    one = train(short, dataset, tmp_path / "one")
    other = train(short.model_copy(update={"learning_rate": 1e-2}), dataset, tmp_path / "other")
    assert not all(map(torch.equal, one, other))


def test_another_sitting_starts_from_what_was_shipped(
    prior_settings: PriorTrainingSection, dataset: Dataset, tmp_path: Path
) -> None:
    """With a rate near zero the weights stay as the first run wrote them, in half precision."""
    first = module.train_prior(
        prior_settings, dataset, tmp_path / "first", device=CPU, report=lambda step, loss: None
    )
    first.save_pretrained(tmp_path / "shipped")
    settings = prior_settings.model_copy(update={"learning_rate": 1e-12, "seed": 1})
    second = module.train_prior(
        settings,
        dataset,
        tmp_path / "second",
        device=CPU,
        initial=tmp_path / "shipped",
        report=lambda step, loss: None,
    )
    assert second.unet.training
    shipped = [first.unet.state_dict(), first.text_encoder.state_dict()]
    found = [second.unet.state_dict(), second.text_encoder.state_dict()]
    for expected, actual in zip(shipped, found, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-3)


def test_objects_are_drawn_by_their_weights(
    prior_settings: PriorTrainingSection, dataset: Dataset
) -> None:
    """Two images have the first object and one the second: at 1 and 3 they are drawn 2 to 3."""
    known = Dataset(*(getattr(dataset, key)[[0, 0, 1]] for key in Dataset.__annotations__))
    weights = prior_settings.object_weights | {OBJECTS[0]: 1.0, OBJECTS[1]: 3.0}
    settings = prior_settings.model_copy(update={"batch_size": 2000, "object_weights": weights})
    draw = torch.Generator().manual_seed(0)
    indices = module._weighted_indices(settings, known, draw)  # pyright: ignore[reportPrivateUsage]
    assert (indices == 2).float().mean() == pytest.approx(3 / 5, abs=0.04)


def test_a_sample_sheet_changes_nothing(
    prior_settings: PriorTrainingSection,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SHEET_STEPS", 2)
    without = train(prior_settings, dataset, tmp_path / "without")
    drawing = prior_settings.model_copy(update={"sample_every_steps": 2})
    assert all(map(torch.equal, train(drawing, dataset, tmp_path / "with"), without))
    sheets = sorted((tmp_path / "with").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["samples-000002.png", "samples-000004.png"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.size == (16 * len(OBJECTS), 16 * 3)


def test_timesteps_follow_the_power(prior_settings: PriorTrainingSection) -> None:
    """P(u^p <= x) = x^(1 / p): with p = 1/2 a quarter of the draws lies below half the range."""
    settings = prior_settings.model_copy(update={"batch_size": 1000, "timestep_power": 0.5})
    draw = torch.Generator().manual_seed(0)
    timesteps = module._stratified_timesteps(settings, 1000, draw)  # pyright: ignore[reportPrivateUsage]
    assert 0 <= int(timesteps.min()) < int(timesteps.max()) <= 999
    assert (timesteps < 500).float().mean() == pytest.approx(0.25, abs=0.002)
    assert (timesteps >= 900).float().mean() == pytest.approx(0.19, abs=0.002)


def test_the_attribute_head_learns_the_views(
    prior_settings: PriorTrainingSection, dataset: Dataset, tmp_path: Path
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
            }
        )
        scratch = tmp_path / str(attribute_lambda)
        model = module.train_prior(
            settings, dataset, scratch, device=CPU, report=lambda step, loss: None
        )
        front, back = model.encode(["a red mug, front view", "a red mug, back view"])
        return float((front - back).mean(0).norm().detach())

    assert distance(1.0) > 1.5 * distance(0.0)
