"""An atlas by projection onto the six sides of a box: no mesh defeats it, and it is simple.

Every face goes to the side that it looks at most, so its component along that side's axis is at
least 1 / sqrt(3): no area shrinks below 58 %, no length by more than that. Connected faces of one
side are a chart. A chart that would cover itself, as a spiral staircase seen from above does, is
cut in two until none does. Charts are packed in rows, tallest first.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.open3d_library import open3d

# For each side, +x -x +y -y +z -z: the axes and signs of u and v, counter-clockwise from outside.
_AXES = np.array([[1, 2], [1, 2], [2, 0], [2, 0], [0, 1], [0, 1]])
_U_SIGNS = np.array([1, -1, 1, -1, 1, -1])

_PADDINGS = (4, 2, 1)  # texels around a chart; fewer where thousands of charts need the room
_BISECTIONS = 24
_FEWEST_RAYS, _MOST_RAYS = 16, 384  # along a chart's longer side


def box_atlas(surface: Isosurface, *, texture_size_px: int) -> UvAtlas:
    """Return the atlas; equal surfaces give equal atlases.

    Raises:
        MeshError: if there are too many charts for the texture.
    """
    side = _sides(surface)
    chart = np.empty(len(surface.faces), dtype=np.int64)
    count = 0
    for faces in _charts(surface, side):
        chart[faces] = count
        count += 1
    # A corner is a vertex in a chart.
    names = chart[:, None] * len(surface.vertices) + surface.faces
    unique, faces = np.unique(names.ravel(), return_inverse=True)
    owner, vertex = np.divmod(unique, len(surface.vertices))
    side_of_chart = np.empty(count, dtype=np.int64)
    side_of_chart[chart] = side
    flat = _projected(surface.vertices[vertex], side_of_chart[owner])
    uvs = _packed(flat, owner, count, texture_size_px)
    return UvAtlas(
        uvs=uvs,
        faces=faces.reshape(-1, 3).astype(np.int64),
        vertex_indices=vertex.astype(np.int64),
        num_charts=count,
        is_box_projection=True,
    )


def _sides(surface: Isosurface) -> Int[np.ndarray, " faces"]:
    """Return the side of the box that each face looks at, 0 to 5."""
    corners = surface.vertices[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normals).argmax(axis=1)
    behind = np.take_along_axis(normals, axis[:, None], axis=1)[:, 0] < 0
    return 2 * axis + behind


def _projected(
    points: Float[np.ndarray, "points 3"], side: Int[np.ndarray, " points"]
) -> Float[np.ndarray, "points 2"]:
    axes = _AXES[side]
    flat = np.take_along_axis(points, axes, axis=1)
    flat[:, 0] *= _U_SIGNS[side]
    return flat


def _charts(
    surface: Isosurface, side: Int[np.ndarray, " faces"]
) -> Iterator[Int[np.ndarray, " chart"]]:
    """Yield the faces of each chart."""
    count = len(surface.faces)
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    pairs = np.asarray(mesh.face_adjacency).reshape(-1, 2)
    pairs = pairs[side[pairs[:, 0]] == side[pairs[:, 1]]]
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    graph = graph + graph.T
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    ends = np.flatnonzero(np.diff(label[order])) + 1
    waiting = deque(np.split(order, ends))
    while waiting:
        faces = waiting.popleft()
        if len(faces) > 1 and _covers_itself(surface, faces, int(side[faces[0]])):
            waiting.extendleft(_halves(graph, faces))
        else:
            yield faces


def _halves(graph: csr_array, faces: Int[np.ndarray, " chart"]) -> list[Int[np.ndarray, " part"]]:
    """Cut a chart in two, each half near to one end of it as far as edges lead."""
    inside = graph[faces][:, faces]
    first = breadth_first_order(inside, 0, directed=False, return_predecessors=False)
    end = int(first[-1])
    order = breadth_first_order(inside, end, directed=False, return_predecessors=False)
    rest = np.setdiff1d(np.arange(len(faces)), order)
    order = np.concatenate([order, rest])
    middle = len(faces) // 2
    return [np.sort(faces[order[:middle]]), np.sort(faces[order[middle:]])]


def _covers_itself(surface: Isosurface, faces: Int[np.ndarray, " chart"], side: int) -> bool:
    """Return whether a ray along the side's axis meets a chart twice.

    Sampled at an eighth of a triangle's size: a narrower overlap may stay, as a strip of texels.
    """
    axis, (u, v) = side // 2, _AXES[side]
    corners = surface.vertices[surface.faces[faces]].astype(np.float32)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    extent = high - low
    longest = float(max(extent[u], extent[v]))
    if longest <= 0:
        return False
    # Finer than the triangles, within bounds; off their grid, so that few rays meet an edge.
    per_side = int(np.clip(8 * np.sqrt(len(faces)), _FEWEST_RAYS, _MOST_RAYS))
    steps_u, steps_v = (
        max(2, min(per_side, int(np.ceil(per_side * extent[k] / longest)))) for k in (u, v)
    )
    shift_u, shift_v = 0.5 - 1 / np.pi / 10, 0.5 + 1 / np.e / 10
    grid_u = low[u] + (np.arange(steps_u) + shift_u) / steps_u * extent[u]
    grid_v = low[v] + (np.arange(steps_v) + shift_v) / steps_v * extent[v]
    places = np.stack(np.meshgrid(grid_u, grid_v, indexing="ij"), axis=-1).reshape(-1, 2)
    rays = np.zeros((len(places), 6), dtype=np.float32)
    rays[:, u], rays[:, v] = places[:, 0], places[:, 1]
    rays[:, axis] = low[axis] - max(1.0, float(extent[axis]))
    rays[:, 3 + axis] = 1.0
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(np.ascontiguousarray(corners.reshape(-1, 3))),
        open3d.core.Tensor.from_numpy(np.arange(3 * len(faces), dtype=np.uint32).reshape(-1, 3)),
    )
    hits = scene.count_intersections(open3d.core.Tensor.from_numpy(rays)).numpy()
    return bool((hits > 1).any())


def _packed(
    flat: Float[np.ndarray, "corners 2"],
    owner: Int[np.ndarray, " corners"],
    count: int,
    size: int,
) -> Float[np.ndarray, "corners 2"]:
    """Return UVs: every chart at one scale, as large as the texture allows."""
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, flat)
    np.maximum.at(high, owner, flat)
    extent = high - low
    for padding in _PADDINGS:
        found = _largest(extent, padding, size)
        if found is not None:
            scale, places = found
            texels = (flat - low[owner]) * scale + places[owner] + padding / 2
            return texels / size
    raise MeshError(
        f"{count} charts do not fit a texture of {size} pixels; expected fewer; lower "
        "mesh.max_faces, decimate the model or raise mesh.texture_size_px"
    )


def _largest(
    extent: Float[np.ndarray, "charts 2"], padding: int, size: int
) -> tuple[float, Float[np.ndarray, "charts 2"]] | None:
    """Return the largest scale at which the charts fit, and their places; None if none does."""
    low, high = 0.0, size / max(float(extent.max()), 1e-12)
    best = None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        places = _rows(extent * middle, padding, size)
        if places is None:
            high = middle
        else:
            low, best = middle, places
    return None if best is None else (low, best)


def _rows(
    extent: Float[np.ndarray, "charts 2"], padding: int, size: int
) -> Float[np.ndarray, "charts 2"] | None:
    """Return the lower left corners of boxes in rows from the bottom; None if they do not fit."""
    boxes = np.ceil(extent).astype(np.int64) + 1 + padding
    order = np.lexsort((np.arange(len(boxes)), -boxes[:, 0], -boxes[:, 1]))
    places = np.zeros((len(boxes), 2))
    x = y = height = 0
    for index in order.tolist():
        width, tall = int(boxes[index, 0]), int(boxes[index, 1])
        if x + width > size:
            x, y, height = 0, y + height, 0
        height = max(height, tall)
        if x + width > size or y + height > size:
            return None
        places[index] = x, y
        x += width
    return places
