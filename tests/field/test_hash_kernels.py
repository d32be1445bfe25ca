"""The kernels against plain torch: in Triton's interpreter, and compiled if there is CUDA."""

import subprocess
from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed; it is for Linux alone")

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.field import hash_kernels
from dreamfusion_kit.field.hash_features import hash_features
from dreamfusion_kit.field.levels import Level, build_levels
from dreamfusion_kit.recipe.schema import HashGridSection
from dreamfusion_kit.seeding import generator

# The interpreter takes CPU tensors, the compiler GPU tensors; conftest selects one.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _example(
    section: HashGridSection, *, num_samples: int = 100, num_features: int = 2
) -> tuple[torch.Tensor, torch.Tensor, tuple[Level, ...]]:
    """Return a table, positions of which some lie beyond the cube, and the levels."""
    levels = build_levels(section)
    num_rows = sum(level.num_rows for level in levels)
    table = torch.randn(num_rows, num_features, generator=generator(0, "field"))
    positions = 1.4 * torch.rand(num_samples, 3, generator=generator(1, "field")) - 0.2
    return table, positions, levels


@pytest.mark.parametrize("num_features", [1, 2, 3])
def test_features_are_those_of_plain_torch(
    hash_section: HashGridSection, num_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_kernels, "_BLOCK", 64)  # the second block is not full
    table, positions, levels = _example(hash_section, num_features=num_features)
    assert {level.is_dense for level in levels} == {True, False}
    found = hash_kernels.features(table.to(DEVICE), positions.to(DEVICE), levels)
    expected = hash_features(table, positions, levels)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_features", [1, 2, 3])
def test_the_gradient_is_that_of_plain_torch(
    hash_section: HashGridSection, num_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_kernels, "_BLOCK", 64)
    table, positions, levels = _example(hash_section, num_features=num_features)
    shape = (len(positions), num_features * len(levels))
    gradient = torch.randn(shape, generator=generator(2, "field"))
    found = hash_kernels.gradient(table.shape, gradient.to(DEVICE), positions.to(DEVICE), levels)
    table.requires_grad_()
    hash_features(table, positions, levels).backward(gradient)
    assert table.grad is not None
    torch.testing.assert_close(found.cpu(), table.grad, rtol=0, atol=1e-5)


def test_the_gradient_is_the_same_in_any_order(hash_section: HashGridSection) -> None:
    table, positions, levels = _example(hash_section)
    gradient = torch.randn(100, 2 * len(levels), generator=generator(2, "field"))
    order = torch.randperm(100, generator=generator(3, "field"))
    first, second = (
        hash_kernels.gradient(table.shape, values.to(DEVICE), places.to(DEVICE), levels)
        for values, places in ((gradient, positions), (gradient[order], positions[order]))
    )
    assert torch.equal(first, second)


def test_no_samples_and_no_levels(hash_section: HashGridSection) -> None:
    table, positions, levels = _example(hash_section)
    table, positions = table.to(DEVICE), positions.to(DEVICE)
    for places, some in ((positions[:0], levels), (positions, levels[:0])):
        found = hash_kernels.features(table, places, some)
        assert found.shape == (len(places), 2 * len(some))
        assert (hash_kernels.gradient(table.shape, found, places, some) == 0).all()


@pytest.mark.filterwarnings("ignore:invalid value")  # the interpreter's, of what is summed
def test_what_is_not_finite_shows(hash_section: HashGridSection) -> None:
    table, positions, levels = _example(hash_section)
    gradient = torch.zeros(100, 2 * len(levels), device=DEVICE)
    gradient[7, 1] = torch.inf
    found = hash_kernels.gradient(table.shape, gradient, positions.to(DEVICE), levels)
    assert found.isnan().all()


def test_what_a_launcher_needs_is_named(
    hash_section: HashGridSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Launcher:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
            def launch(*arguments: object, **options: object) -> None:
                raise self.error

            return launch

    table, positions, levels = _example(hash_section)
    for error, expected in (
        (RuntimeError("Failed to find C compiler."), (MissingExtraError, "needs a C compiler")),
        (subprocess.CalledProcessError(1, "gcc"), (MissingExtraError, "Python's headers")),
        (FileNotFoundError("/no/cc"), (MissingExtraError, r"\(/no/cc\)")),
        (RuntimeError("out of memory"), (RuntimeError, "^out of memory$")),
    ):
        monkeypatch.setattr(hash_kernels, "_features_kernel", Launcher(error))
        with pytest.raises(expected[0], match=expected[1]):
            hash_kernels.features(table, positions, levels)


@pytest.mark.gpu
def test_fields_on_a_gpu_use_the_kernels(
    hash_section: HashGridSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the size of a render, and twice: the sums have no order."""
    large = {"num_levels": 8, "log2_table_size": 19, "max_resolution": 4096}
    table, positions, levels = _example(hash_section.model_copy(update=large), num_samples=200_000)
    values = torch.randn(len(positions), 2 * len(levels), generator=generator(2, "field"))
    calls: list[str] = []
    for name in ("features", "gradient"):
        kernel = getattr(hash_kernels, name)
        monkeypatch.setattr(
            hash_kernels, name, lambda *a, k=kernel, n=name: (calls.append(n), k(*a))[1]
        )
    found = []
    for device in ("cpu", "cuda", "cuda"):
        rows = table.to(device, copy=True).requires_grad_()
        features = hash_features(rows, positions.to(device), levels)
        features.backward(values.to(device))
        assert rows.grad is not None
        found.append((features.detach().cpu(), rows.grad.cpu()))
    assert calls == ["features", "gradient"] * 2
    for first, second, third in zip(*found, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
        assert torch.equal(second, third)
