"""Chunks change nothing, and functions see what they are promised."""

import numpy as np
import torch

from dreamfusion_kit.mesh import query
from dreamfusion_kit.mesh.query import query_field


def test_chunks_keep_the_order(monkeypatch, cpu):
    positions = np.random.default_rng(0).standard_normal((1001, 3))
    whole = query_field(lambda p: p.norm(dim=-1), positions, device=cpu)
    monkeypatch.setattr(query, "_CHUNK", 100)
    sizes = []

    def norm(chunk):
        sizes.append(len(chunk))
        return chunk.norm(dim=-1)

    np.testing.assert_array_equal(query_field(norm, positions, device=cpu), whole)
    assert sizes == [100] * 10 + [1]
    np.testing.assert_allclose(whole, np.linalg.norm(positions, axis=1), rtol=1e-6)


def test_vectors_keep_their_axis(cpu):
    positions = np.zeros((5, 3))
    assert query_field(torch.ones_like, positions, device=cpu).shape == (5, 3)
