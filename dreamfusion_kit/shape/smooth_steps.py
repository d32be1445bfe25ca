"""Steps that move neighbouring vertices alike (Nicolet et al. 2021, "Large Steps", s. 3).

With L the Laplacian of a mesh's edges (degrees on the diagonal, -1 between neighbours), a vertex's
displacement is x = (I + lambda L)^-1 w, and w is what is optimised. A step of w moves a vertex by
much where its neighbours' steps agree and by little where they differ, so that large moves of parts
leave the surface smooth. Unlike a penalty this does not change which shape is the best.
"""

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csc_matrix, identity
from scipy.sparse.linalg import splu
from torch import Tensor


class SmoothSteps:
    """The solution of (I + lambda L) x = w for a mesh, factored once, on the CPU in float64."""

    def __init__(
        self, faces: Int[Tensor, "faces 3"], num_vertices: int, smoothing_lambda: float
    ) -> None:
        """Factor the matrix of the mesh's edges; each edge counts once."""
        laplacian = _laplacian(faces.cpu().numpy(), num_vertices)
        matrix = cast(
            csc_matrix, identity(num_vertices, format="csc") + smoothing_lambda * laplacian
        )
        self._factored: Any = splu(matrix)

    def __call__(self, steps: Float[Tensor, "vertices 3"]) -> Float[Tensor, "vertices 3"]:
        """Return the displacements of the vertices, differentiable."""
        return cast(Tensor, _Solve.apply(steps, self._factored))


class _Solve(torch.autograd.Function):
    """The solution; the matrix is symmetric, so its gradient is the solution of the gradient."""

    @staticmethod
    def forward(ctx: Any, steps: Tensor, factored: Any) -> Tensor:
        ctx.factored = factored
        return _solved(factored, steps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _solved(ctx.factored, gradients[0]), None


def _solved(factored: Any, right: Tensor) -> Tensor:
    found = factored.solve(right.detach().cpu().numpy().astype(np.float64))
    return torch.from_numpy(found).to(right)


def _laplacian(faces: Int[np.ndarray, "faces 3"], num_vertices: int) -> csc_matrix:
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.unique(np.sort(ends, axis=1), axis=0)
    first, second = np.concatenate([ends, ends[:, ::-1]]).T
    size = (num_vertices, num_vertices)
    ones = np.ones(len(first))
    beside = coo_matrix((ones, (first, second)), shape=size)
    degrees = coo_matrix((ones, (first, first)), shape=size)
    return cast(csc_matrix, (degrees - beside).tocsc())
