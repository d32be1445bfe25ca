"""Brings a model's triangles into world coordinates: z up, front +x, inside the ball."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from trimesh.graph import face_adjacency

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.recipe.imported import BALL_RADIUS, Axis, ImportSection

CREASE_DEG = 40.0  # a sharper edge keeps its two normals
_MIN_AREA = 1e-14  # of a face, in squares of the ball's radius: a line or a point


@dataclass(frozen=True)
class PlacedModel:
    """A model in world coordinates, its vertices welded, without faces of no area.

    `kept` are the faces of the file that are left. `transform` takes a point of the file to
    world coordinates, as a column vector; `size_m` is the longest side of its box in metres.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    kept: Int[np.ndarray, " faces"]
    transform: Float[np.ndarray, "4 4"]
    size_m: float


def place(raw: RawModel, section: ImportSection) -> PlacedModel:
    """Turn, centre and scale a model: its box's middle to the origin, into `BALL_RADIUS`.

    Raises:
        MeshError: if no face has an area.
    """
    used, inverse = np.unique(raw.faces, return_inverse=True)
    own = raw.vertices[used]
    lower, upper = own.min(axis=0), own.max(axis=0)
    center = (lower + upper) / 2
    radius = float(np.linalg.norm(own - center, axis=1).max())
    if not radius > 0:
        raise MeshError("all positions are one point, expected a surface")
    turn = axes(section.up, section.front)
    scale = BALL_RADIUS / radius
    transform = np.eye(4)
    transform[:3, :3] = scale * turn
    transform[:3, 3] = -scale * turn @ center
    moved = (own - center) @ turn.T * scale
    vertices, welded = np.unique(moved, axis=0, return_inverse=True)
    faces = welded.ravel()[inverse.reshape(raw.faces.shape)]
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    kept = np.flatnonzero(np.linalg.norm(across, axis=1) / 2 > _MIN_AREA)
    if len(kept) == 0:
        raise MeshError("no face has an area, expected a surface")
    left, compact = np.unique(faces[kept], return_inverse=True)
    return PlacedModel(
        vertices=vertices[left],
        faces=compact.reshape(-1, 3).astype(np.int64),
        kept=kept,
        transform=transform,
        size_m=float((upper - lower).max()) * section.meters_per_unit,
    )


def axes(up: Axis, front: Axis) -> Float[np.ndarray, "3 3"]:
    """Return the rotation that takes `front` to world +x and `up` to world +z."""
    forward, upward = _unit(front), _unit(up)
    return np.stack([forward, np.cross(upward, forward), upward])


def _unit(axis: Axis) -> Float[np.ndarray, "3"]:
    vector = np.zeros(3)
    vector["xyz".index(axis[-1])] = -1.0 if axis.startswith("-") else 1.0
    return vector


def split_at_creases(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Int[np.ndarray, " corners"], Int[np.ndarray, "faces 3"]]:
    """Repeat vertices where edges are sharp, so that a normal per vertex can show them.

    Returns:
        For each new vertex the old one, and the faces in terms of new ones.
    """
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = across / np.linalg.norm(across, axis=1, keepdims=True)
    pairs = np.asarray(face_adjacency(faces))
    cosines = np.einsum("pd,pd->p", normals[pairs[:, 0]], normals[pairs[:, 1]])
    smooth = pairs[cosines > np.cos(np.radians(CREASE_DEG))]
    graph = coo_matrix((np.ones(len(smooth)), smooth.T), shape=(len(faces), len(faces)))
    _, patch = connected_components(graph, directed=False)
    keys = faces.astype(np.int64) * (patch.max() + 1) + patch[:, None]
    unique, inverse = np.unique(keys, return_inverse=True)
    return unique // (patch.max() + 1), inverse.reshape(faces.shape)


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Return unit normals at vertices, the mean of their faces' weighted by area.

    Where the faces of a vertex cancel out, it has the normal of one of them.
    """
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros_like(vertices)
    np.add.at(sums, faces.ravel(), across.repeat(3, axis=0))
    one = np.zeros_like(vertices)
    one[faces.ravel()] = across.repeat(3, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    cancelled = lengths < 1e-6 * np.linalg.norm(one, axis=1, keepdims=True)
    chosen = np.where(cancelled, one, sums)
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
