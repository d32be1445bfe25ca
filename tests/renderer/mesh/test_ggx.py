"""The metallic-roughness material against Mitsuba, by its energy, and by finite differences."""

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion_kit.renderer.mesh.ggx import (
    ambient_reflected,
    reflected,
    shade_ggx,
    to_linear,
    to_srgb,
)

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def toward(elevation_deg: float, azimuth_deg: float = 0.0) -> torch.Tensor:
    """Return a unit direction above a surface that faces up."""
    e, a = math.radians(elevation_deg), math.radians(azimuth_deg)
    return torch.tensor(
        [math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)], dtype=torch.float64
    )


def of(
    roughness: float, metallic: float, light: torch.Tensor, eye: torch.Tensor, base: float = 1.0
) -> torch.Tensor:
    """Return what one or many lights' directions give."""
    light = light.reshape(-1, 3)
    count = len(light)
    full = torch.full((count,), 1.0, dtype=torch.float64)
    return reflected(
        base * full[:, None].expand(-1, 3),
        roughness * full,
        metallic * full,
        UP.expand(count, 3),
        light,
        eye.expand(count, 3),
    )


@pytest.fixture(scope="module")
def mitsuba() -> Any:
    found = importlib.import_module("mitsuba")
    found.set_variant("scalar_rgb")
    return found


@pytest.mark.parametrize("roughness", [0.2, 0.5, 1.0])
def test_a_white_metal_is_mitsuba_s_rough_conductor(mitsuba: Any, roughness: float) -> None:
    """Of reflectance 1 there is no Fresnel term: D, G and the cosines alone."""
    bsdf = mitsuba.load_dict(
        {
            "type": "roughconductor",
            "material": "none",
            "distribution": "ggx",
            "alpha": roughness**2,
        }
    )
    context = mitsuba.BSDFContext()
    for light_deg, eye_deg, turn in ((30, 60, 180), (80, 20, 90), (45, 45, 180), (10, 70, 30)):
        light, eye = toward(light_deg, turn), toward(eye_deg)
        interaction = mitsuba.SurfaceInteraction3f()
        interaction.wi = eye.tolist()
        expected = np.array(bsdf.eval(context, interaction, light.tolist()))  # f (n.l)
        found = of(roughness, 1.0, light, eye)[0] / math.pi
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7)


def hemisphere(count: int = 400) -> tuple[torch.Tensor, float]:
    """Return directions over the hemisphere, of equal solid angle, and that angle."""
    heights = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    turns = 2 * math.pi * (torch.arange(2 * count, dtype=torch.float64) + 0.5) / (2 * count)
    height, turn = (grid.reshape(-1) for grid in torch.meshgrid(heights, turns, indexing="ij"))
    across = (1 - height**2).sqrt()
    directions = torch.stack([across * turn.cos(), across * turn.sin(), height], dim=-1)
    return directions, 2 * math.pi / len(directions)


@pytest.mark.parametrize("roughness", [0.25, 0.6, 1.0])
def test_a_surface_sends_back_no_more_than_it_gets(roughness: float) -> None:
    """A white furnace: light of 1 from everywhere, integrated over the hemisphere.

    A metal keeps to it. glTF's dielectric mixes by the half vector's Fresnel term, which near
    grazing gives up to a tenth too much: 1.10 for a smooth one seen at 20 degrees.
    """
    directions, angle = hemisphere()

    def total(metallic: float, eye_deg: float) -> float:
        found = of(roughness, metallic, directions, toward(eye_deg)).sum(dim=0)
        return found.max().item() * angle / math.pi

    for eye_deg in (85.0, 45.0, 20.0):
        assert 0.3 < total(1.0, eye_deg) < 1.005  # what bounces twice between facets is lost
        assert 0.9 < total(0.0, eye_deg) < 1.11


def test_half_a_metal_is_the_mean_of_a_dielectric_and_a_metal() -> None:
    """As the appendix defines the material: mix(dielectric_brdf, metal_brdf, metallic)."""
    light, eye = toward(35, 160), toward(50)
    for base in (0.05, 0.5, 0.9):
        dielectric, metal = (of(0.4, value, light, eye, base) for value in (0.0, 1.0))
        torch.testing.assert_close(
            of(0.4, 0.25, light, eye, base), 0.75 * dielectric + 0.25 * metal
        )
        ambient = [
            ambient_reflected(
                torch.full((1, 3), base, dtype=torch.float64),
                torch.tensor([value], dtype=torch.float64),
            )
            for value in (0.0, 0.25, 1.0)
        ]
        torch.testing.assert_close(ambient[1], 0.75 * ambient[0] + 0.25 * ambient[2])


@pytest.mark.parametrize("metallic", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("roughness", [0.3, 0.6])
def test_what_it_sends_back_is_what_relit_pictures_show(
    mitsuba: Any, metallic: float, roughness: float
) -> None:
    """`relight` and scenes have Mitsuba's `principled`, whose diffuse part is Disney's."""
    base, angle = 0.3, hemisphere(30)[1]
    bsdf = mitsuba.load_dict(
        {
            "type": "principled",
            "base_color": {"type": "rgb", "value": base},
            "roughness": roughness,
            "metallic": metallic,
            "specular": 0.5,
        }
    )
    context, interaction = mitsuba.BSDFContext(), mitsuba.SurfaceInteraction3f()
    directions = hemisphere(30)[0]
    for eye_deg in (80, 45):
        eye = toward(eye_deg)
        interaction.wi = eye.tolist()
        seen = [bsdf.eval(context, interaction, light)[0] for light in directions.tolist()]
        found = of(roughness, metallic, directions, eye, base)[:, 0].sum() * angle / math.pi
        tolerance = 1e-3 if metallic == 1 else 0.08
        assert found.item() == pytest.approx(sum(seen) * angle, rel=tolerance)


def test_a_smooth_white_metal_loses_next_to_nothing() -> None:
    directions, angle = hemisphere(800)
    total = of(0.2, 1.0, directions, toward(60.0)).sum(dim=0) * angle / math.pi
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64), rtol=0, atol=0.02)


def test_it_is_reciprocal_and_dark_from_behind() -> None:
    light, eye = toward(30, 140), toward(65)
    there = of(0.4, 0.3, light, eye, 0.7) / light[2]
    back = of(0.4, 0.3, eye, light, 0.7) / eye[2]
    torch.testing.assert_close(there, back)
    assert not of(0.4, 0.3, toward(-10), eye).any()


def test_a_rough_dielectric_is_nearly_lambertian() -> None:
    """A white sheet that faces light and eye sends back what shading by the cosine says."""
    found = of(1.0, 0.0, UP, UP, 0.5)[0]
    assert found[0].item() == pytest.approx(0.5 * 0.96 + 0.04 / 4, rel=1e-9)
    base = torch.full((1, 3), 0.5, dtype=torch.float64)
    none = torch.zeros(1, dtype=torch.float64)
    assert ambient_reflected(base, none)[0, 0].item() == pytest.approx(0.5 * 0.96 + 0.04)
    assert ambient_reflected(base, none + 1)[0, 0].item() == pytest.approx(0.5)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    count = 5
    normalize = torch.nn.functional.normalize
    albedo = 0.2 + 0.6 * torch.rand(count, 3, dtype=torch.float64)
    material = 0.2 + 0.6 * torch.rand(count, 2, dtype=torch.float64)
    normals = normalize(UP + 0.3 * torch.randn(count, 3, dtype=torch.float64), dim=-1)
    positions = 0.1 * torch.randn(count, 3, dtype=torch.float64)
    lights = torch.tensor([[0.5, 0.2, 2.0]], dtype=torch.float64).expand(count, 3).clone()
    eyes = torch.tensor([[-0.4, 0.3, 2.5]], dtype=torch.float64).expand(count, 3).clone()
    strengths = torch.full((count,), 0.3, dtype=torch.float64)
    plain = torch.zeros(count, dtype=torch.bool)
    inputs = [albedo, material, normals, positions, eyes, lights]
    for value in inputs:
        value.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda *given: shade_ggx(*given, strengths, strengths, plain), inputs
    )


def test_textureless_points_have_neither_colour_nor_highlight() -> None:
    given = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    material = torch.tensor([[0.1, 1.0], [0.9, 0.0]], dtype=torch.float64, requires_grad=True)
    ones = torch.ones(2, dtype=torch.float64)
    found = shade_ggx(
        given,
        material,
        UP.expand(2, 3),
        torch.zeros(2, 3, dtype=torch.float64),
        2 * UP.expand(2, 3),
        3 * UP.expand(2, 3),
        0.2 * ones,
        0.5 * ones,
        torch.ones(2, dtype=torch.bool),
    )
    assert torch.equal(found[0], found[1])
    gradients = torch.autograd.grad(found.sum(), [given, material])
    assert not any(gradient.any() for gradient in gradients)


def test_the_transfer_curves_are_inverses() -> None:
    values = torch.linspace(0, 1, 257, dtype=torch.float64)
    torch.testing.assert_close(to_srgb(to_linear(values)), values, rtol=0, atol=1e-6)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140, abs=1e-4)
