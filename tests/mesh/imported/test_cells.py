"""The atlas of last resort: no two triangles share a texel."""

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported.cells import cell_atlas
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.texture import texel_points


@pytest.mark.parametrize("num_faces", [1, 2, 3, 80])
def test_every_triangle_has_texels_of_its_own(num_faces: int) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    surface = Isosurface(np.array(ball.vertices), np.array(ball.faces[:num_faces]))
    atlas = cell_atlas(surface, texture_size_px=64)
    assert atlas.uvs.min() >= 0
    assert atlas.uvs.max() <= 1
    np.testing.assert_array_equal(atlas.vertex_indices[atlas.faces], surface.faces)
    face, _ = texel_points(atlas, 64)
    assert set(face.tolist()) == set(range(num_faces))
    corners = (atlas.uvs * [64, -64] + [0, 64])[atlas.faces]
    for index, triangle in enumerate(corners):
        inside = triangle.mean(axis=0)
        column, row = np.floor(inside).astype(int)
        assert face[row * 64 + column] == index


def test_too_many_faces_for_the_texture_are_refused() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    surface = Isosurface(np.array(ball.vertices), np.array(ball.faces))
    with pytest.raises(MeshError, match="1280 faces do not fit a texture of 64 pixels"):
        cell_atlas(surface, texture_size_px=64)
