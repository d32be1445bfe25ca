"""What the trainings share: the loop, the rate's trapezoid, averages, checkpoints."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from dreamfusion_kit.errors import CheckpointError, NumericsError
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    descend,
    learning_rate,
    make_optimizer,
    resume_training,
    save_training,
)


def test_the_rate_is_a_trapezoid(prior_settings: PriorTrainingSection) -> None:
    settings = prior_settings.model_copy(
        update={"num_steps": 10, "warmup_steps": 4, "decay_steps": 3, "learning_rate": 1.0}
    )
    rates = [learning_rate(settings, step) for step in range(11)]
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0]
    assert rates == pytest.approx(expected)


def test_only_matrices_decay(prior_settings: PriorTrainingSection) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    decayed, kept = make_optimizer(model, prior_settings).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 3)]
    assert [tuple(p.shape) for p in kept["params"]] == [(2,)] * 3
    assert decayed["weight_decay"] == prior_settings.weight_decay
    assert kept["weight_decay"] == 0


def test_averages_follow_their_recurrence() -> None:
    """Against the same recurrence on plain floats."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    averages = AveragedWeights(model, decay=0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, -1.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 0.0]):
        with torch.no_grad():
            model.weight.fill_(value)
        averages.update(model, step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert float(averages.values["weight"]) == pytest.approx(expected, rel=1e-6)
    averages.copy_to(model)
    assert float(model.weight.detach()) == pytest.approx(expected, rel=1e-6)


@dataclasses.dataclass
class Run:
    model: nn.Module
    optimizer: torch.optim.AdamW
    averages: AveragedWeights

    def step(self, step: int) -> None:
        draw = torch.Generator().manual_seed(step)
        loss = self.model(torch.randn(5, 3, generator=draw)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.averages.update(self.model, step)

    def state(self) -> list[torch.Tensor]:
        return [*self.model.state_dict().values(), *self.averages.values.values()]


def new_run(settings: PriorTrainingSection, seed: int) -> Run:
    model = nn.Linear(3, 2)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return Run(model, make_optimizer(model, settings), AveragedWeights(model, 0.9))


def test_the_loop_takes_adamw_s_steps(prior_settings: PriorTrainingSection, tmp_path: Path) -> None:
    """Without weight decay AdamW's first steps on a steady slope are the rate itself."""
    settings = prior_settings.model_copy(update={"weight_decay": 0.0, "num_steps": 4})
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    order: list[str] = []
    seen: list[tuple[int, float]] = []

    def report(step: int, loss: float) -> None:
        order.append("report")
        seen.append((step, loss))

    descend(
        model,
        settings,
        tmp_path / "run.safetensors",
        lambda step: 3.0 * model.weight.sum() + step,
        report=report,
        after_step=lambda step: order.append("after"),
    )
    moved = sum(learning_rate(settings, step) for step in range(4))
    assert float(model.weight.detach()) == pytest.approx(1.0 - moved, rel=1e-5)
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == pytest.approx(3.0)
    assert order == ["after", "report"] * 4


def test_the_gradient_s_norm_is_limited_where_a_limit_is_given(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    settings = prior_settings.model_copy(update={"num_steps": 1})
    norms: list[float] = []
    for limit in (1.0, None):
        model = nn.Linear(1, 1, bias=False)
        descend(
            model,
            settings,
            tmp_path / f"{limit}.safetensors",
            lambda step, model=model: 7.0 * model.weight.sum(),
            report=lambda step, loss: None,
            max_gradient_norm=limit,
        )
        assert model.weight.grad is not None
        norms.append(float(model.weight.grad.norm()))
    assert norms == pytest.approx([1.0, 7.0], rel=1e-5)


def test_a_checkpoint_carries_everything_on(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    whole = new_run(prior_settings, seed=0)
    for step in range(6):
        whole.step(step)

    first = new_run(prior_settings, seed=0)
    for step in range(3):
        first.step(step)
    path = tmp_path / "scratch" / "run.safetensors"
    save_training(path, 3, first.model, first.optimizer, first.averages)

    second = new_run(prior_settings, seed=1)
    start = resume_training(path, second.model, second.optimizer, second.averages)
    assert start == 3
    for step in range(start, 6):
        second.step(step)
    assert all(map(torch.equal, second.state(), whole.state()))
    assert not list(path.parent.glob("*.partial"))


def test_a_fresh_scratch_starts_at_the_beginning(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    run = new_run(prior_settings, seed=0)
    before = [value.clone() for value in run.state()]
    assert resume_training(tmp_path / "no.safetensors", run.model, run.optimizer, None) == 0
    assert all(map(torch.equal, run.state(), before))


def test_a_group_may_have_a_factor_on_the_rate(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    settings = prior_settings.model_copy(update={"num_steps": 3})
    slow, fast = (nn.Parameter(torch.ones(1)) for _ in range(2))
    model = nn.ParameterDict({"slow": slow, "fast": fast})
    groups = [{"params": [slow]}, {"params": [fast], "factor": 8.0}]
    descend(
        model,
        settings,
        tmp_path / "run.safetensors",
        lambda step: (slow + fast).sum(),
        report=lambda step, loss: None,
        max_gradient_norm=None,
        optimizer=torch.optim.AdamW(groups, weight_decay=0.0),
    )
    moved = sum(learning_rate(settings, step) for step in range(3))
    assert float(slow.detach()) == pytest.approx(1 - moved, rel=1e-5)
    assert float(fast.detach()) == pytest.approx(1 - 8 * moved, rel=1e-5)


def test_a_training_that_diverges_is_stopped_before_it_overwrites_its_checkpoint(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    """The third loss is not a number; a checkpoint is due after steps 2 and 4."""
    model, path = nn.Linear(1, 1, bias=False), tmp_path / "run.safetensors"
    reported: list[int] = []
    with pytest.raises(NumericsError, match=r"^step 3: found a loss of nan.*learning_rate"):
        descend(
            model,
            prior_settings,
            path,
            lambda step: model.weight.sum() * (float("nan") if step == 2 else 1.0),
            report=lambda step, loss: reported.append(step),
        )
    assert reported == [0, 1]
    with safe_open(path, framework="pt") as archive:
        assert archive.metadata() == {"step": "2"}
        assert archive.get_tensor("model/weight").isfinite().all()


def test_an_infinite_gradient_under_a_finite_loss_is_never_saved(
    prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    """A square root at zero has the value 0 and an infinite slope."""
    settings = prior_settings.model_copy(update={"num_steps": 1})
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    with pytest.raises(NumericsError, match=r"^step 1: found parameters that are not finite"):
        descend(
            model,
            settings,
            tmp_path / "run.safetensors",
            lambda step: model.weight.sqrt().sum(),
            report=lambda step, loss: None,
            max_gradient_norm=None,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"half a checkpoint"])
def test_a_damaged_checkpoint_is_named(
    prior_settings: PriorTrainingSection, tmp_path: Path, content: bytes
) -> None:
    run, path = new_run(prior_settings, seed=0), tmp_path / "run.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.safetensors: damaged .*remove it"):
        resume_training(path, run.model, run.optimizer, run.averages)


def test_a_failed_sample_leaves_the_model_as_it_was() -> None:
    model = nn.Linear(1, 1, bias=False).eval()
    averages = AveragedWeights(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    with pytest.raises(RuntimeError), averages.used_by(model):
        raise RuntimeError
    assert float(model.weight.detach()) == 3.0
    assert not model.training
