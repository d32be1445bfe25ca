"""Edges of a triangle mesh, and the two faces beside each."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """The edges between two faces: their ends, and the faces. Others are left out."""

    ends: Int[Tensor, "edges 2"]
    faces: Int[Tensor, "edges 2"]


@torch.no_grad()
def shared_edges(faces: Int[Tensor, "faces 3"]) -> Edges:
    """Return each edge that belongs to exactly two faces, in the order of its ends."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values
    owner = torch.arange(len(faces), device=faces.device).repeat(3)
    size = int(faces.max()) + 1 if len(faces) else 1
    names, order = (ends[:, 0] * size + ends[:, 1]).sort(stable=True)
    same = names[1:] == names[:-1]
    before = torch.cat([same.new_zeros(1), same[:-1]]) if len(same) else same
    after = torch.cat([same[1:], same.new_zeros(1)]) if len(same) else same
    first = torch.nonzero(same & ~before & ~after)[:, 0]
    return Edges(
        ends=ends[order[first]],
        faces=torch.stack([owner[order[first]], owner[order[first + 1]]], dim=1),
    )
