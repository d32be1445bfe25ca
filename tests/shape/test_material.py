"""Roughness and metallic around a surface: what is fixed, one number, and what varies."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.recipe.schema import MaterialSection, RefineSection
from dreamfusion_kit.shape.material import Material
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start


def material(roughness: dict[str, object], metallic: dict[str, object]) -> MaterialSection:
    return MaterialSection.model_validate({"roughness": roughness, "metallic": metallic})


FIXED = {"kind": "fixed", "value": 0.4}
NUMBER = {"kind": "number", "start": 0.6, "learning_rate": 0.05}
GRID = {"kind": "grid", "start": 0.7, "resolution": 8, "learning_rate": 0.1}


def test_it_begins_with_the_recipe_s_numbers() -> None:
    positions = torch.rand(5, 3) - 0.5
    for section, expected in ((FIXED, 0.4), (NUMBER, 0.6), (GRID, 0.7)):
        found = Material(material(section, FIXED), 0.9)(positions)
        torch.testing.assert_close(found, torch.tensor([[expected, 0.4]]).expand(5, 2))


def test_what_is_learned_has_a_group_and_what_is_fixed_has_none() -> None:
    assert Material(material(FIXED, FIXED), 0.9).parameter_groups() == []
    found = Material(material(NUMBER, GRID), 0.9)
    groups = found.parameter_groups()
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("material_roughness", 0.05),
        ("material_metallic", 0.1),
    ]
    assert sum(p.numel() for p in found.parameters()) == found.section.num_parameters == 1 + 8**3
    assert found.varies
    assert not Material(material(NUMBER, FIXED), 0.9).varies


def test_a_grid_differs_from_place_to_place() -> None:
    found = Material(material(GRID, FIXED), 1.0)
    raw = found.roughness.raw
    assert raw is not None
    with torch.no_grad():
        raw.view(8, 8, 8)[4:] = 5.0  # the half in front
    behind, front = found(torch.tensor([[-0.9, 0.0, 0.0], [0.9, 0.0, 0.0]]))[:, 0].tolist()
    assert behind == pytest.approx(0.7, abs=1e-5)
    assert front == pytest.approx(1 / (1 + math.exp(-5)), abs=1e-5)


@pytest.fixture
def views() -> Callable[[SurfaceModel], torch.Tensor]:
    """Return what draws a model from in front, lit from the camera."""

    def draw(model: SurfaceModel) -> torch.Tensor:
        cameras = orbit_cameras(
            torch.zeros(1), elevation_deg=10.0, radius=2.0, fov_y_deg=40.0, image_size_px=48
        )
        light = headlight(cameras, ambient=0.1, diffuse=0.6, textureless=False)
        background = torch.zeros(1, 48, 48, 3)
        return model.render(model.surface(), cameras, light, background, supersampling=1).image

    return draw


def test_a_smoother_surface_has_a_brighter_and_smaller_highlight(
    section: RefineSection, ball: Start, views: Callable[[SurfaceModel], torch.Tensor]
) -> None:
    def drawn(roughness: float) -> torch.Tensor:
        value = {"kind": "fixed", "value": roughness}
        changed = section.model_copy(
            update={"material": material(value, {"kind": "fixed", "value": 1.0})}
        )
        return views(SurfaceModel(changed, ball, seed=0)).detach().mean(dim=-1)

    smooth, rough = drawn(0.3), drawn(0.9)
    assert smooth.max() > 1.5 * rough.max()
    half = [(image > image.max() / 2).sum() for image in (smooth, rough)]
    assert half[0] < half[1] / 2


def test_the_gradient_of_a_picture_is_that_of_finite_differences(
    section: RefineSection, ball: Start, views: Callable[[SurfaceModel], torch.Tensor]
) -> None:
    changed = section.model_copy(update={"material": material(NUMBER, NUMBER)})
    model = SurfaceModel(changed, ball, seed=0)
    assert model.material is not None
    for part in (model.material.roughness, model.material.metallic):
        raw = part.raw
        assert raw is not None
        (gradient,) = torch.autograd.grad(views(model).double().sum(), [raw])
        totals = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                raw += step
                totals.append(views(model).double().sum().item())
                raw -= step
        assert gradient.item() == pytest.approx((totals[0] - totals[1]) / 2e-2, rel=0.02)


def test_without_a_material_nothing_changes(section: RefineSection, ball: Start) -> None:
    assert section.material is None
    model = SurfaceModel(section, ball, seed=0)
    assert model.material is None
    assert {group["name"] for group in model.parameter_groups({"texture"})} == {"texture"}
