"""Learning rates against DreamFusion's own numbers (C13), clipping against arithmetic."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.optimize.optimizers import (
    build_optimizer,
    clip_gradients,
    learning_rate_factor,
    set_learning_rates,
)
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import LearningRateDecaySection, LinearSchedule, OptimizeSection


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-9),
        (1500, 5.00005e-5),
        (3000, 1e-4),
        (6000, 8.550179e-5),
        (9000, 5.05e-5),
        (12000, 1.549821e-5),
        (15000, 1e-6),
    ],
)
def test_dreamfusions_learning_rate(step: int, expected: float) -> None:
    section = LearningRateDecaySection(
        warmup_steps=3000, initial_fraction=1e-5, kind="cosine", final_fraction=0.01
    )
    found = 1e-4 * learning_rate_factor(section, step, 15_000)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(0, 1e-4), (2500, 5.05e-3), (9000, 1e-2)])
def test_dreamfusions_orientation_weight(step: int, expected: float) -> None:
    schedule = LinearSchedule(start=1e-4, end=1e-2, from_step=0, to_step=5000)
    assert value_at(schedule, step) == pytest.approx(expected, rel=1e-6)


def test_without_warmup_and_decay_the_rate_is_constant() -> None:
    section = LearningRateDecaySection(
        warmup_steps=0, initial_fraction=0.5, kind="none", final_fraction=0.1
    )
    assert {learning_rate_factor(section, step, 10) for step in range(11)} == {1.0}


def test_each_group_keeps_its_own_rate(optimize_section: Callable[..., OptimizeSection]) -> None:
    section = optimize_section(num_steps=10)
    groups = [
        {"name": "density", "params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1},
        {"name": "albedo", "params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.01},
    ]
    optimizer = build_optimizer(section, groups)
    for step in (0, 5, 9):  # Setting is not accumulating: the order of steps does not matter.
        set_learning_rates(optimizer, section, step)
        factor = learning_rate_factor(section.learning_rate_decay, step, 10)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [factor * 0.1, factor * 0.01]


def test_the_update_is_adams(optimize_section: Callable[..., OptimizeSection]) -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    section = optimize_section()
    optimizer = build_optimizer(section, [{"name": "all", "params": [parameter], "lr": 0.1}])
    (beta1, beta2), epsilon = section.optimizer.betas, section.optimizer.epsilon
    value, first, second = torch.tensor([1.0, -2.0]), torch.zeros(2), torch.zeros(2)
    for count in range(1, 4):
        gradient = torch.tensor([0.3, -0.1]) * count
        parameter.grad = gradient.clone()
        optimizer.step()
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        corrected = (second / (1 - beta2**count)).sqrt() + epsilon
        value = value - 0.1 * first / (1 - beta1**count) / corrected
    torch.testing.assert_close(parameter.detach(), value)


@pytest.mark.parametrize(("max_norm", "scale"), [(None, 1.0), (10.0, 1.0), (1.0, 0.2)])
def test_gradients_are_clipped_together(max_norm: float | None, scale: float) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    norm = clip_gradients(parameters, max_norm)
    assert float(norm) == pytest.approx(5.0)
    found = torch.cat([p.grad for p in parameters if p.grad is not None])
    torch.testing.assert_close(found, scale * torch.tensor([3.0, 4.0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_shows_in_the_norm(bad: float) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, bad])
    assert not clip_gradients([parameter], 1.0).isfinite()


def test_no_gradient_at_all_has_norm_zero() -> None:
    assert float(clip_gradients([torch.nn.Parameter(torch.zeros(2))], 1.0)) == 0
