"""The atlas that has to work on every mesh: nothing overlaps, little is stretched."""

from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.box_projection import box_atlas
from dreamfusion_kit.mesh.isosurface import Isosurface

SIZE = 256


def surface_of(mesh: trimesh.Trimesh) -> Isosurface:
    return Isosurface(np.asarray(mesh.vertices, dtype=float), np.asarray(mesh.faces, dtype=int))


def staircase() -> Isosurface:
    """Return a closed ramp that winds three times around the vertical: it covers itself."""
    count = 120
    angle = np.linspace(0, 6 * np.pi, count)
    rows = []
    for radius, below in ((0.3, 0.0), (0.8, 0.0), (0.8, 0.05), (0.3, 0.05)):
        height = 0.06 * angle - below
        rows.append(np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1))
    vertices = np.stack(rows, axis=1).reshape(-1, 3)  # four per step, around the cross section
    faces = []
    for step in range(count - 1):
        for corner in range(4):
            a, b = 4 * step + corner, 4 * step + (corner + 1) % 4
            faces += [[a, b, b + 4], [a, b + 4, a + 4]]
    last = 4 * (count - 1)
    faces += [[0, 2, 1], [0, 3, 2], [last, last + 1, last + 2], [last, last + 2, last + 3]]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.fix_normals()
    return surface_of(mesh)


def noise() -> Isosurface:
    """Return a ball whose every vertex is displaced: thousands of small charts."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    rng = np.random.default_rng(0)
    mesh.vertices *= 1 + 0.08 * rng.standard_normal((len(mesh.vertices), 1))
    return surface_of(mesh)


SHAPES: dict[str, Callable[[], Isosurface]] = {
    "ball": lambda: surface_of(trimesh.creation.icosphere(subdivisions=3, radius=0.7)),
    "cube": lambda: surface_of(trimesh.creation.box((1, 1, 1))),
    "torus": lambda: surface_of(trimesh.creation.torus(0.6, 0.2)),
    "staircase": staircase,
    "noise": noise,
}


@pytest.fixture(params=list(SHAPES))
def surface(request: pytest.FixtureRequest) -> Isosurface:
    return SHAPES[request.param]()


def test_faces_keep_their_order_and_no_pixel_has_two(
    surface: Isosurface, pixels_covered: Callable[..., np.ndarray]
) -> None:
    atlas = box_atlas(surface, texture_size_px=SIZE)
    np.testing.assert_array_equal(atlas.vertex_indices[atlas.faces], surface.faces)
    assert atlas.is_box_projection
    assert atlas.uvs.min() > 0
    assert atlas.uvs.max() < 1
    assert pixels_covered(atlas, 4 * SIZE).max() == 1


def test_stretch_is_bounded_and_charts_face_outwards(surface: Isosurface) -> None:
    """Of one scale for the whole surface: an area shrinks to 1 / sqrt(3) at the least."""
    atlas = box_atlas(surface, texture_size_px=SIZE)
    corners = surface.vertices[surface.faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    flat = atlas.uvs[atlas.faces]
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    signed = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    share = signed / area
    assert share.min() > 0
    assert share.max() / share.min() < np.sqrt(3) * 1.001


def test_a_cube_has_six_charts_and_a_staircase_is_cut() -> None:
    cube = box_atlas(SHAPES["cube"](), texture_size_px=SIZE)
    assert cube.num_charts == 6
    lengths = np.ptp(cube.uvs[cube.faces], axis=1)
    np.testing.assert_allclose(lengths, lengths[0, 0], rtol=1e-9)
    assert lengths[0, 0] > 0.3  # nine squares of a third
    surface = staircase()
    normals = trimesh.Trimesh(surface.vertices, surface.faces, process=False).face_normals
    ups = np.flatnonzero(normals[:, 2] > 0.9)
    atlas = box_atlas(surface, texture_size_px=SIZE)
    low = [atlas.uvs[atlas.faces[face]].mean(axis=0) for face in ups]
    assert len(np.unique(np.round(low, 6), axis=0)) == len(ups)


def test_twice_gives_the_same_bytes() -> None:
    first, second = (box_atlas(noise(), texture_size_px=SIZE) for _ in range(2))
    assert first.uvs.tobytes() == second.uvs.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()


def test_faces_without_an_area_or_a_neighbour_have_a_place() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0], [0, 0, 5]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [4, 4, 4]])
    atlas = box_atlas(Isosurface(vertices, faces), texture_size_px=64)
    assert np.isfinite(atlas.uvs).all()
    assert atlas.faces.shape == faces.shape


def test_more_charts_than_texels_are_refused() -> None:
    with pytest.raises(MeshError, match=r"charts do not fit a texture of 16 pixels.*max_faces"):
        box_atlas(noise(), texture_size_px=16)
