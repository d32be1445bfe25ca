"""Dust, budget, smoothing, welding; facts by a second library."""

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.clean import clean_surface, measure, vertex_normals
from dreamfusion_kit.mesh.isosurface import Isosurface


def icosphere(radius=1.0, center=(0.0, 0.0, 0.0), subdivisions=4):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Isosurface(mesh.vertices + center, mesh.faces.astype(np.int64))


def joined(*surfaces):
    offsets = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
    faces = [surface.faces + offset for surface, offset in zip(surfaces, offsets, strict=False)]
    return Isosurface(
        np.concatenate([surface.vertices for surface in surfaces]), np.concatenate(faces)
    )


def with_keys(section, **keys):
    return section.model_copy(update=keys)


def test_dust_is_dropped_and_both_spheres_stay(section):
    dust = [icosphere(0.02, (x, 0.8, 0.0), subdivisions=1) for x in np.linspace(-0.8, 0.8, 7)]
    surface = joined(icosphere(0.3, (0.5, 0, 0), 3), *dust, icosphere(0.25, (-0.5, 0, 0), 3))
    cleaned, facts = clean_surface(surface, section)
    assert (facts.components, facts.dropped_components) == (2, 7)
    assert cleaned.vertices[:, 1].max() < 0.31


@pytest.mark.parametrize(("fraction", "kept"), [(0.2, 2), (0.3, 1)])
def test_the_fraction_is_of_the_largest_area(section, fraction, kept):
    half_as_large = joined(icosphere(0.4, (0.5, 0, 0), 3), icosphere(0.2, (-0.5, 0, 0), 3))
    _, facts = clean_surface(half_as_large, with_keys(section, min_component_fraction=fraction))
    assert facts.components == kept


@pytest.mark.parametrize("max_faces", [100, 999, 2000])
def test_the_face_budget_holds_and_the_surface_stays_closed(section, max_faces):
    cleaned, facts = clean_surface(icosphere(), with_keys(section, max_faces=max_faces))
    assert 0.9 * max_faces < facts.faces <= max_faces
    assert facts.watertight
    assert facts.euler_number == 2
    assert facts.volume == pytest.approx(4 / 3 * np.pi, rel=2 / np.sqrt(max_faces))
    assert np.unique(cleaned.faces).size == facts.vertices


def test_a_budget_out_of_reach_is_refused(section):
    torus = trimesh.creation.torus(1.0, 0.3)
    surface = Isosurface(torus.vertices, torus.faces.astype(np.int64))
    with pytest.raises(MeshError, match="fewest for 1 components and an Euler number of 0"):
        clean_surface(surface, with_keys(section, max_faces=8))


def test_a_surface_within_the_budget_is_not_decimated(section):
    surface = icosphere(subdivisions=2)
    _, facts = clean_surface(surface, section)
    assert facts.faces == len(surface.faces)


def test_smoothing_removes_noise_and_keeps_the_volume(section):
    sphere = icosphere()
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal((len(sphere.vertices), 1))
    noisy = Isosurface(sphere.vertices * noise, sphere.faces)
    keys = {"max_faces": len(noisy.faces)}
    rough, before = clean_surface(noisy, with_keys(section, **keys))
    smooth, after = clean_surface(noisy, with_keys(section, smoothing_iterations=10, **keys))
    spread = [np.linalg.norm(surface.vertices, axis=1).std() for surface in (rough, smooth)]
    assert spread[1] < 0.5 * spread[0]
    assert after.volume == pytest.approx(before.volume, rel=0.01)


def test_repeated_vertices_and_faces_without_extent_are_removed(section):
    sphere = icosphere(subdivisions=2)
    torn = Isosurface(
        sphere.vertices[sphere.faces].reshape(-1, 3),
        np.concatenate([np.arange(sphere.faces.size).reshape(-1, 3), [[0, 0, 1]]]),
    )
    _, facts = clean_surface(torn, section)
    assert (facts.vertices, facts.faces) == (len(sphere.vertices), len(sphere.faces))
    assert facts.watertight


def test_an_inverted_surface_is_refused(section):
    sphere = icosphere(subdivisions=2)
    with pytest.raises(MeshError, match="signed volume of -"):
        clean_surface(Isosurface(sphere.vertices, sphere.faces[:, ::-1].copy()), section)


def test_facts_of_a_cube():
    cube = trimesh.creation.box((1.0, 2.0, 3.0))
    facts = measure(Isosurface(cube.vertices, cube.faces.astype(np.int64)), dropped_components=0)
    assert (facts.vertices, facts.faces, facts.components) == (8, 12, 1)
    assert facts.area == pytest.approx(22)
    assert facts.volume == pytest.approx(6)


def test_a_surface_with_a_hole_is_not_watertight():
    sphere = icosphere(subdivisions=1)
    facts = measure(Isosurface(sphere.vertices, sphere.faces[1:]), dropped_components=0)
    assert not facts.watertight
    assert facts.euler_number == 1


def test_vertex_normals_of_a_sphere_point_outwards():
    sphere = icosphere(0.5)
    np.testing.assert_allclose(vertex_normals(sphere), sphere.vertices / 0.5, atol=0.02)


def test_twice_gives_the_same_bytes(section):
    surface = joined(icosphere(0.5, subdivisions=5), icosphere(0.01, (0.8, 0, 0), 1))
    keys = {"smoothing_iterations": 3, "max_faces": 3000}
    first, second = (clean_surface(surface, with_keys(section, **keys))[0] for _ in range(2))
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()
