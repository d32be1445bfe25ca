"""Distributed Shampoo against its equations, with roots from eigenvalues."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from dreamfusion_kit.optimize.optimizers import build_optimizer, set_learning_rates
from dreamfusion_kit.optimize.shampoo import Shampoo
from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under
from dreamfusion_kit.recipe.schema import OptimizeSection

from .conftest import SHAMPOO


def _root(matrix: torch.Tensor, power: int) -> torch.Tensor:
    """Return the inverse root, with the library's ridge of epsilon times the top eigenvalue."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag((values + 1e-6 * values.max()) ** (-1 / power)) @ vectors.T


def _gradients(count: int, *shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def _shampoo(
    make: Callable[..., OptimizeSection], parameters: list[torch.nn.Parameter], **changes: Any
) -> torch.optim.Optimizer:
    section = make(optimizer=SHAMPOO | changes)
    return build_optimizer(section, [{"name": "all", "params": parameters, "lr": 0.1}])


@pytest.mark.parametrize(("exponent_override", "power"), [(2, 2), (0, 4)])
def test_three_steps_by_hand(
    optimize_section: Callable[..., OptimizeSection], exponent_override: int, power: int
) -> None:
    value = torch.zeros(4, 3, dtype=torch.float64)
    parameter = torch.nn.Parameter(value.clone())
    optimizer = _shampoo(
        optimize_section, [parameter], exponent_override=exponent_override, block_size=8
    )
    rows, columns = 1e-6 * torch.eye(4).double(), 1e-6 * torch.eye(3).double()
    momentum, graft_momentum = torch.zeros_like(value), torch.zeros_like(value)
    for count, gradient in enumerate(_gradients(3, 4, 3), start=1):
        parameter.grad = gradient.clone()
        optimizer.step()
        rows = 0.9 * rows + 0.1 * gradient @ gradient.T
        columns = 0.9 * columns + 0.1 * gradient.T @ gradient
        direction = _root(rows, power) @ gradient @ _root(columns, power)
        direction = direction * 12**0.5 / direction.norm()  # the norm of 12 signs
        momentum = 0.9 * momentum + direction
        graft_momentum = 0.9 * graft_momentum + gradient.sign()
        value = value - 0.1 * (momentum if count >= 2 else graft_momentum)
        torch.testing.assert_close(parameter.detach(), value, atol=2e-3, rtol=0)


def test_blocks_are_preconditioned_on_their_own(
    optimize_section: Callable[..., OptimizeSection],
) -> None:
    """Cut at 2, the halves of a matrix move as two matrices, but for the common norm."""
    (gradient,) = _gradients(1, 4, 2)
    whole = torch.nn.Parameter(torch.zeros(4, 2, dtype=torch.float64))
    halves = [torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64)) for _ in range(2)]
    whole.grad = gradient.clone()
    for half, part in zip(halves, gradient.split(2), strict=True):
        half.grad = part.clone()
    changes = {"block_size": 2, "start_step": 1}
    _shampoo(optimize_section, [whole], **changes).step()
    rows = []
    for part in gradient.split(2):
        left, right = 0.9e-6 * torch.eye(2).double(), 0.9e-6 * torch.eye(2).double()
        left, right = left + 0.1 * part @ part.T, right + 0.1 * part.T @ part
        rows.append(_root(left, 2) @ part @ _root(right, 2))
    expected = torch.cat(rows)
    expected = -0.1 * expected * 8**0.5 / expected.norm()
    torch.testing.assert_close(whole.detach(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("graft", ["sqrt_n", "rmsprop"])
def test_a_resumed_run_ends_in_the_same_bits(
    optimize_section: Callable[..., OptimizeSection], graft: str
) -> None:
    shapes = [(5, 3), (3,), (4, 4)]

    def start() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        parameters = [torch.nn.Parameter(torch.ones(*shape)) for shape in shapes]
        section = optimize_section(optimizer=SHAMPOO | {"graft": graft, "block_size": 4})
        groups = [
            {"name": "one", "params": parameters[:2], "lr": 0.1},
            {"name": "two", "params": parameters[2:], "lr": 0.01},
        ]
        return parameters, build_optimizer(section, groups)

    def go_on(parameters: list[torch.nn.Parameter], optimizer: Any, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            set_learning_rates(optimizer, optimize_section(), step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    whole, optimizer = start()
    go_on(whole, optimizer, range(8))
    stopped, before = start()
    go_on(stopped, before, range(5))
    resumed, after = start()
    saved = before.state_dict()["state"]
    assert all(isinstance(t, torch.Tensor) for state in saved.values() for t in state.values())
    for parameter, value in zip(resumed, stopped, strict=True):
        parameter.data.copy_(value.data)
    after.load_state_dict({"state": saved, "param_groups": after.state_dict()["param_groups"]})
    go_on(resumed, after, range(5, 8))
    for found, expected in zip(resumed, whole, strict=True):
        assert torch.equal(found, expected)


def test_the_state_of_other_shapes_is_refused(
    optimize_section: Callable[..., OptimizeSection],
) -> None:
    one = torch.nn.Parameter(torch.ones(3, 2))
    other = torch.nn.Parameter(torch.ones(2, 3))
    one.grad = torch.ones(3, 2)
    optimizer = _shampoo(optimize_section, [one])
    optimizer.step()
    with pytest.raises(RuntimeError, match="size"):
        _shampoo(optimize_section, [other]).load_state_dict(optimizer.state_dict())


def test_nothing_to_save_before_the_first_step(
    optimize_section: Callable[..., OptimizeSection],
) -> None:
    optimizer = _shampoo(optimize_section, [torch.nn.Parameter(torch.ones(3, 2))])
    assert isinstance(optimizer, Shampoo)
    assert optimizer.state_dict()["state"] == {}


# The paper's network has such matrices, whose roots take many iterations. With the library's own
# start vectors 14 steps of this size ended 1e-6 apart.
WIDE = ((48, 128), (128, 128), (128,), (128, 4))
NUM_STEPS = 16


def wide_run(
    make: Callable[..., OptimizeSection],
    *,
    global_seed: int,
    stops: tuple[int, ...] = (),
    **changes: Any,
) -> list[torch.Tensor]:
    """Return parameters after `NUM_STEPS` steps; at each stop all is saved and built again."""
    torch.manual_seed(global_seed)
    tensors: dict[str, torch.Tensor] = {}
    parameters: list[torch.nn.Parameter] = []
    for begin, end in zip((0, *stops), (*stops, NUM_STEPS), strict=True):
        parameters = [
            torch.nn.Parameter(torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape))
            for shape in WIDE
        ]
        optimizer = _shampoo(make, parameters, **changes)
        if begin > 0:
            for index, parameter in enumerate(parameters):
                parameter.data.copy_(tensors[f"p{index}"])
            load_optimizer_tensors(optimizer, under("optimizer/", tensors))
        for step in range(begin, end):
            generator = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        tensors = {f"p{index}": p.detach().clone() for index, p in enumerate(parameters)}
        tensors |= {f"optimizer/{name}": t for name, t in optimizer_tensors(optimizer).items()}
        tensors = load(save(tensors))
        torch.rand(begin + global_seed)  # what else draws from the global generator
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"graft": "rmsprop", "block_size": 64, "nesterov": True},
        {"preconditioner_every_steps": 3},
    ],
    ids=["published", "blocks", "every third"],
)
def test_wide_matrices_repeat_whatever_the_global_seed(
    optimize_section: Callable[..., OptimizeSection], changes: dict[str, Any]
) -> None:
    whole = wide_run(optimize_section, global_seed=1, **changes)
    assert all(torch.isfinite(value).all() for value in whole)
    for found in (
        wide_run(optimize_section, global_seed=2, **changes),
        wide_run(optimize_section, global_seed=3, stops=(5, 14), **changes),
    ):
        assert all(torch.equal(one, other) for one, other in zip(found, whole, strict=True))


def test_a_step_leaves_the_global_generators_alone(
    optimize_section: Callable[..., OptimizeSection],
    no_global_draws: Callable[[], AbstractContextManager[None]],
) -> None:
    parameter = torch.nn.Parameter(torch.ones(128, 48))
    parameter.grad = torch.ones(128, 48)
    optimizer = _shampoo(optimize_section, [parameter])
    with no_global_draws():
        optimizer.step()


def test_two_processes_end_in_the_same_bits(
    optimize_section: Callable[..., OptimizeSection],
) -> None:
    program = f"""
import hashlib, sys, torch
torch.set_num_threads(1)
torch.manual_seed(int(sys.argv[1]))
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.recipe.schema import OptimizeSection
section = OptimizeSection.model_validate_json(sys.argv[2])
shapes = {WIDE}
parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
optimizer = build_optimizer(section, [dict(name="all", params=parameters, lr=0.1)])
for step in range({NUM_STEPS}):
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
digest = hashlib.sha256()
for parameter in parameters:
    digest.update(parameter.detach().numpy().tobytes())
print(digest.hexdigest())
"""
    section = optimize_section(optimizer=SHAMPOO).model_dump_json()
    found = {
        subprocess.run(
            [sys.executable, "-c", program, seed, section],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 2 * hashlib.sha256().digest_size
