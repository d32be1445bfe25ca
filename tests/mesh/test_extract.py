"""The whole way, on fields with a known answer."""

import numpy as np
import pytest
import torch

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.extract import extract_mesh

FORMATS = ("glb", "obj", "ply", "stl", "usdz")


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
def test_a_sphere_becomes_that_sphere(section, cpu, solid, sphere, rainbow, scale):
    mesh = extract_mesh(
        solid(sphere(0.6), scale=scale), rainbow, section, bounding_radius=1.0, device=cpu
    )
    assert mesh.facts["area"] == pytest.approx(4 * np.pi * 0.6**2, rel=0.03)
    assert mesh.facts["volume"] == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.03)
    assert mesh.facts["watertight"] is True
    assert mesh.facts["euler_number"] == 2
    assert mesh.facts["faces"] <= section.max_faces
    assert mesh.facts["density_max"] == pytest.approx(scale, rel=1e-3)
    assert mesh.facts["occupied_fraction"] == pytest.approx(0.6**3, rel=0.05)
    np.testing.assert_allclose(mesh.vertex_colors / 255, (mesh.surface.vertices + 1) / 2, atol=2e-3)


def test_a_milky_fields_colours_come_from_below_its_skin(section, cpu, solid, sphere):
    """At density 2 the outer 0.03 are (1 - exp(-0.06)) / (1 - exp(-0.5)) = 0.15 of what is seen."""

    def red_skin(positions):
        red = (sphere(0.57)(positions) > 0).float()
        return torch.stack([red, torch.zeros_like(red), 1 - red], dim=-1)

    def redness(depth):
        mesh = extract_mesh(
            solid(sphere(0.6), scale=2.0, width=0.002),
            red_skin,
            section.model_copy(update={"texture_depth": depth}),
            bounding_radius=1.0,
            device=cpu,
        )
        return mesh.vertex_colors[:, 0].mean() / 255, mesh.texture[..., 0].mean() / 255

    assert redness(0.0) == pytest.approx((1, 1))
    assert redness(0.25) == pytest.approx((0.15, 0.15), abs=0.05)


def test_a_hollow_sphere_has_one_surface(section, cpu, solid, sphere, rainbow):
    def hollow(positions):
        return (sphere(0.5)(positions)).abs() - 0.15

    mesh = extract_mesh(solid(hollow), rainbow, section, bounding_radius=1.0, device=cpu)
    assert mesh.facts["components"] == 1
    assert mesh.facts["volume"] == pytest.approx(4 / 3 * np.pi * 0.65**3, rel=0.03)
    assert mesh.facts["filled_cavity_fraction"] == pytest.approx(0.35**3, rel=0.1)


def test_an_empty_field_is_refused(section, cpu, rainbow):
    def nothing(positions):
        return torch.zeros(len(positions))

    with pytest.raises(MeshError, match="highest density found is 0, visible is"):
        extract_mesh(nothing, rainbow, section, bounding_radius=1.0, device=cpu)


def test_the_same_field_twice_gives_the_same_files(tmp_path, section, cpu, solid, sphere, rainbow):
    def wobbly(positions):
        return sphere(0.6)(positions) + 0.05 * torch.sin(8 * positions).prod(dim=-1)

    section = section.model_copy(update={"smoothing_iterations": 3, "max_faces": 2000})
    for name in ("first", "second"):
        mesh = extract_mesh(solid(wobbly), rainbow, section, bounding_radius=1.0, device=cpu)
        (tmp_path / name).mkdir()
        write_mesh(tmp_path / name, mesh, name="ball", formats=FORMATS, provenance={"seed": 0})
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_nothing_is_printed(capfd, section, cpu, solid, sphere, rainbow):
    extract_mesh(solid(sphere(0.6)), rainbow, section, bounding_radius=1.0, device=cpu)
    assert capfd.readouterr() == ("", "")


def test_no_global_generator_is_drawn_from(
    tmp_path, section, cpu, solid, sphere, rainbow, no_global_draws
):
    with no_global_draws():
        mesh = extract_mesh(solid(sphere(0.6)), rainbow, section, bounding_radius=1.0, device=cpu)
        write_mesh(tmp_path, mesh, name="ball", formats=FORMATS, provenance={})
