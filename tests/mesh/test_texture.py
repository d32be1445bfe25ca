"""The atlas covers the surface once; the texture, read back through it, is the albedo."""

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.texture import bake_texture, query_colors
from dreamfusion_kit.mesh.unwrap import unwrap

SIZE = 128


@pytest.fixture(scope="module")
def surface():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.7)
    return Isosurface(np.asarray(mesh.vertices), mesh.faces.astype(np.int64))


@pytest.fixture(scope="module")
def atlas(surface):
    return unwrap(surface, texture_size_px=SIZE)


def red_and_blue(positions):
    """Return red in front (x > 0) and blue behind."""
    front = (positions[:, 0] > 0).float()
    return torch.stack([front, torch.zeros_like(front), 1 - front], dim=-1)


def bilinear(texture, uvs):
    """Sample as a renderer does: v up, texel centres at half integers, clamped borders."""
    height, width, _ = texture.shape
    column = np.clip(uvs[:, 0] * width - 0.5, 0, width - 1)
    row = np.clip((1 - uvs[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = (column - left)[:, None], (row - top)[:, None]
    upper = texture[top, left] * (1 - x) + texture[top, right] * x
    lower = texture[bottom, left] * (1 - x) + texture[bottom, right] * x
    return upper * (1 - y) + lower * y


def points_on_faces(surface, atlas, count=7):
    """Return positions and UVs of random points of each face."""
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), size=(len(surface.faces), count))
    positions = np.einsum("fck,fkd->fcd", weights, surface.vertices[surface.faces])
    uvs = np.einsum("fck,fkd->fcd", weights, atlas.uvs[atlas.faces])
    return positions.reshape(-1, 3), uvs.reshape(-1, 2)


def bake(surface, atlas, albedo):
    return bake_seen(surface, atlas, lambda positions, normals: albedo(positions))


def bake_seen(surface, atlas, albedo):
    """Bake with the normals that a sphere around the origin has."""
    normals = surface.vertices / np.linalg.norm(surface.vertices, axis=1, keepdims=True)
    cpu = torch.device("cpu")
    return bake_texture(surface, normals, atlas, albedo, texture_size_px=SIZE, device=cpu)


def test_the_atlas_keeps_faces_and_their_order(surface, atlas):
    np.testing.assert_array_equal(atlas.vertex_indices[atlas.faces], surface.faces)
    assert atlas.uvs.min() > 0
    assert atlas.uvs.max() < 1
    assert atlas.num_charts >= 2


def test_charts_do_not_overlap(atlas, pixels_covered):
    covered = pixels_covered(atlas, 512)
    corners = atlas.uvs[atlas.faces] * 512
    edges = corners[:, 1:] - corners[:, :1]
    area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
    assert covered.max() == 1
    assert covered.sum() == pytest.approx(area, rel=0.01)
    assert area > 0.3 * 512**2


def test_each_half_has_its_colour(surface, atlas):
    texture = bake(surface, atlas, red_and_blue)
    positions, uvs = points_on_faces(surface, atlas)
    colors = bilinear(texture, uvs)
    texel = 4 * 0.7 / SIZE
    front, back = positions[:, 0] > 3 * texel, positions[:, 0] < -3 * texel
    assert front.sum() > 1000
    assert back.sum() > 1000
    np.testing.assert_allclose(colors[front], np.tile([255.0, 0, 0], (front.sum(), 1)))
    np.testing.assert_allclose(colors[back], np.tile([0, 0, 255.0], (back.sum(), 1)))


def test_a_smooth_albedo_is_read_back(surface, atlas, rainbow):
    positions, uvs = points_on_faces(surface, atlas)
    error = bilinear(bake(surface, atlas, rainbow), uvs) / 255 - (positions + 1) / 2
    assert np.abs(error).max() < 0.03
    assert np.sqrt((error**2).mean()) < 0.004


def test_every_texel_knows_its_normal(surface, atlas):
    """On a sphere the unit normal is the direction from the centre, also inside of faces."""
    positions, uvs = points_on_faces(surface, atlas)
    texture = bake_seen(surface, atlas, lambda positions, normals: (normals + 1) / 2)
    directions = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    error = 2 * bilinear(texture, uvs) / 255 - 1 - directions
    assert np.sqrt((error**2).mean()) < 0.02


def test_no_background_colour_is_left_for_mip_maps(surface, atlas):
    texture = bake(surface, atlas, red_and_blue).astype(float)
    assert (texture.sum(axis=-1) == 255).all()
    positions, uvs = points_on_faces(surface, atlas)
    level_two = texture.reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean(axis=(1, 3))
    is_front = positions[:, 0] > 0.4
    assert bilinear(level_two, uvs)[is_front, 0].min() > 200


def test_twice_gives_the_same_bytes(surface, atlas, rainbow):
    again = unwrap(surface, texture_size_px=SIZE)
    assert again.uvs.tobytes() == atlas.uvs.tobytes()
    assert again.faces.tobytes() == atlas.faces.tobytes()
    assert bake(surface, again, rainbow).tobytes() == bake(surface, atlas, rainbow).tobytes()


def test_colours_are_rounded_to_nearest(cpu):
    def albedo(positions, normals):
        return torch.tensor([[0.0, 0.5, 1.0]]).expand(len(positions), 3)

    colors = query_colors(albedo, np.zeros((2, 3)), np.zeros((2, 3)), device=cpu)
    np.testing.assert_array_equal(colors, [[0, 128, 255]] * 2)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.2])
def test_damaged_albedo_is_refused(cpu, value):
    with pytest.raises(MeshError, match=r"2 of 2 albedo values .* outside \[0, 1\]"):
        query_colors(
            lambda positions, normals: torch.full_like(positions, value),
            np.zeros((2, 3)),
            np.zeros((2, 3)),
            device=cpu,
        )
