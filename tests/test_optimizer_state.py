"""An optimiser's moments survive the way through named tensors."""

import torch

from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under


def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, slope: float) -> None:
    optimizer.zero_grad()
    (slope * parameter**2).sum().backward()
    optimizer.step()


def test_a_restored_optimiser_goes_on_to_the_bit() -> None:
    first, second = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimizers = [torch.optim.Adam([p], lr=0.1) for p in (first, second)]
    for slope in (1.0, 3.0):
        step(first, optimizers[0], slope)
    saved = {name: t.clone() for name, t in optimizer_tensors(optimizers[0]).items()}
    assert set(saved) == {"0/step", "0/exp_avg", "0/exp_avg_sq"}
    with torch.no_grad():
        second.copy_(first)
    load_optimizer_tensors(optimizers[1], saved)
    for parameter, optimizer in zip((first, second), optimizers, strict=True):
        step(parameter, optimizer, 2.0)
    assert torch.equal(first, second)


def test_names_below_a_prefix() -> None:
    tensors = {"phi/a": torch.zeros(1), "phi/b/c": torch.ones(1), "other": torch.ones(2)}
    assert list(under("phi/", tensors)) == ["a", "b/c"]
