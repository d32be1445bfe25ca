"""Penalties on a surface: how uneven its normals, its vertices and its edges are."""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.adjacency import Edges

_FLATTEST = 1e-8


def normal_consistency(surface: Surface, edges: Edges) -> Float[Tensor, ""]:
    """Return the mean of 1 - cosine of the angle between the faces beside an edge.

    Weighted by the lengths of the edges, so that slivers count as little as they are seen.
    """
    if len(edges.ends) == 0:
        return surface.vertices.sum() * 0
    a, b, c = surface.vertices[surface.faces].unbind(dim=1)
    normals = torch.linalg.cross(b - a, c - a)
    normals = normals / normals.norm(dim=-1, keepdim=True).clamp_min(_FLATTEST)
    first, second = normals[edges.faces].unbind(dim=1)
    lengths = _lengths(surface, edges).detach()
    return ((1 - (first * second).sum(dim=-1)) * lengths).sum() / lengths.sum()


def laplacian(surface: Surface, edges: Edges) -> Float[Tensor, ""]:
    """Return the mean squared distance of a vertex from the middle of its neighbours.

    In units of the mean squared edge, so that it does not depend on the size of the faces.
    """
    if len(edges.ends) == 0:
        return surface.vertices.sum() * 0
    vertices = surface.vertices
    first, second = edges.ends.unbind(dim=1)
    sums = torch.zeros_like(vertices).index_add(0, first, vertices[second])
    sums = sums.index_add(0, second, vertices[first])
    ones = torch.ones_like(vertices[first, :1])
    counts = torch.zeros_like(vertices[:, :1]).index_add(0, first, ones).index_add(0, second, ones)
    apart = (vertices - sums / counts.clamp_min(1)).square().sum(dim=-1) * (counts[:, 0] > 0)
    unit = _lengths(surface, edges).detach().square().mean()
    return apart.mean() / unit


def edge_length(surface: Surface, edges: Edges) -> Float[Tensor, ""]:
    """Return the variance of the edges' lengths over their squared mean."""
    if len(edges.ends) == 0:
        return surface.vertices.sum() * 0
    lengths = _lengths(surface, edges)
    mean = lengths.mean().detach()
    return ((lengths - mean) / mean).square().mean()


def _lengths(surface: Surface, edges: Edges) -> Float[Tensor, " edges"]:
    first, second = surface.vertices[edges.ends].unbind(dim=1)
    return (first - second).norm(dim=-1)
