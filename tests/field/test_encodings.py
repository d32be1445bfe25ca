import itertools
import math
import sys

import numpy as np
import pytest
import torch

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.field import lookup
from dreamfusion_kit.field.encodings import HashEncoding, build_encoding
from dreamfusion_kit.recipe.schema import HashGridSection
from dreamfusion_kit.seeding import generator


def _oracle(section: HashGridSection, table: np.ndarray, position: np.ndarray) -> list[float]:
    """Follow tiny-cuda-nn's grid.h for one position: scalar code and uint32 arithmetic."""
    features: list[float] = []
    offset = 0
    growth = math.exp(
        math.log(section.max_resolution / section.min_resolution) / (section.num_levels - 1)
    )
    for level in range(section.num_levels):
        scale = section.min_resolution * growth**level - 1
        resolution = math.ceil(scale - 1e-9) + 1
        size = min((resolution**3 + 7) // 8 * 8, 2**section.log2_table_size)
        cell = np.floor(scale * position + 0.5).astype(np.uint32)
        fraction = scale * position + 0.5 - cell
        total = np.zeros(section.features_per_level)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = cell + np.array(corner, dtype=np.uint32)
            if resolution**3 > size:
                with np.errstate(over="ignore"):
                    row = x ^ (y * np.uint32(2654435761)) ^ (z * np.uint32(805459861))
            else:
                row = int(x) + int(y) * resolution + int(z) * resolution**2
            weight = np.prod(np.where(corner, fraction, 1 - fraction))
            total += weight * table[offset + int(row) % size]
        features += total.tolist()
        offset += size
    return features


@pytest.mark.parametrize("log2_table_size", [4, 10, 18])
def test_features_are_those_of_the_scalar_formula(
    hash_section: HashGridSection, log2_table_size: int
) -> None:
    changes = {"log2_table_size": log2_table_size, "max_resolution": 600}
    section = hash_section.model_copy(update=changes)
    encoding = HashEncoding(section, generator=generator(0, "field")).double()
    positions = torch.rand(40, 3, generator=generator(1, "field"), dtype=torch.float64)
    positions[:2] = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    table = encoding.table.detach().numpy()
    expected = [_oracle(section, table, position) for position in positions.numpy()]
    found = encoding(positions, section.num_levels)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_any_pieces_give_the_same_bytes(
    hash_section: HashGridSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = HashEncoding(hash_section, generator=generator(0, "field"))
    positions = torch.rand(1000, 3, generator=generator(1, "field"))
    gradient = torch.randn(1000, 8, generator=generator(2, "field"))
    found = []
    for chunk in (10**6, 4 * 300, 1):  # bags: samples times levels
        monkeypatch.setattr(lookup, "_CHUNK", chunk)
        encoding.table.grad = None
        features = encoding(positions, 4)
        features.backward(gradient)
        assert encoding.table.grad is not None
        found.append((features.detach(), encoding.table.grad))
    for features, table_gradient in found[1:]:
        assert torch.equal(features, found[0][0])
        assert torch.equal(table_gradient, found[0][1])


def test_there_is_no_second_gradient(hash_section: HashGridSection) -> None:
    encoding = HashEncoding(hash_section, generator=generator(0, "field"))
    features = encoding(torch.rand(5, 3, generator=generator(1, "field")), 4)
    (first,) = torch.autograd.grad(features.square().sum(), encoding.table, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_levels_out_of_use_are_zero_and_the_others_unchanged(hash_section: HashGridSection) -> None:
    encoding = HashEncoding(hash_section, generator=generator(0, "field"))
    positions = torch.rand(10, 3, generator=generator(1, "field"))
    everything = encoding(positions, 4)
    for num_levels in range(5):
        found = encoding(positions, num_levels)
        assert torch.equal(found[:, : 2 * num_levels], everything[:, : 2 * num_levels])
        assert (found[:, 2 * num_levels :] == 0).all()


def test_beyond_the_cube_the_nearest_point_is_read(hash_section: HashGridSection) -> None:
    encoding = HashEncoding(hash_section, generator=generator(0, "field"))
    outside, nearest = torch.tensor([[1.2, 0.5, -3.0]]), torch.tensor([[1.0, 0.5, 0.0]])
    assert torch.equal(encoding(outside, 4), encoding(nearest, 4))


def test_the_table_starts_small_and_covers_its_range(hash_section: HashGridSection) -> None:
    table = HashEncoding(hash_section, generator=generator(0, "field")).table.detach()
    assert 0.9e-4 < float(table.abs().max()) <= 1e-4
    assert float(table.mean()) == pytest.approx(0, abs=1e-5)


def test_missing_tinycudann_says_what_to_install(
    hash_section: HashGridSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    section = hash_section.model_copy(update={"backend": "tinycudann"})
    with pytest.raises(MissingExtraError, match="pip install git"):
        build_encoding(section, generator=generator(0, "field"))


@pytest.mark.gpu
def test_parity_with_tinycudann(hash_section: HashGridSection) -> None:
    pytest.importorskip("tinycudann", reason="tinycudann is not installed")
    if not torch.cuda.is_available():
        pytest.skip("tinycudann needs a CUDA device")
    ours = HashEncoding(hash_section, generator=generator(0, "field"))
    section = hash_section.model_copy(update={"backend": "tinycudann"})
    theirs = build_encoding(section, generator=generator(0, "field")).cuda()
    (parameters,) = theirs.parameters()
    parameters.data.copy_(ours.table.detach().flatten())
    positions = torch.rand(1000, 3, generator=generator(1, "field"))
    for num_levels in (2, 4):
        found = theirs(positions.cuda(), num_levels).cpu().float()
        torch.testing.assert_close(found, ours(positions, num_levels), atol=1e-6, rtol=1e-2)
