import math

import pytest
import torch

from dreamfusion_kit.renderer.shading import shade

ALBEDO = torch.tensor([[0.2, 0.5, 1.0]], dtype=torch.float64)


def _shade(
    angle_deg: float,
    *,
    ambient: float = 0.1,
    diffuse: float = 0.9,
    textureless: bool = False,
    albedo: torch.Tensor = ALBEDO,
) -> torch.Tensor:
    """Shade a point with normal +z and the light at an angle to it, 2 away."""
    angle = math.radians(angle_deg)
    position = torch.tensor([[0.3, -0.1, 0.7]], dtype=torch.float64)
    light = 2 * torch.tensor([[math.sin(angle), 0, math.cos(angle)]], dtype=torch.float64)
    return shade(
        albedo,
        torch.tensor([[0, 0, 1]], dtype=torch.float64),
        position,
        position + light,
        torch.tensor([ambient], dtype=torch.float64),
        torch.tensor([diffuse], dtype=torch.float64),
        torch.tensor([textureless]),
    )[0]


@pytest.mark.parametrize(("angle_deg", "factor"), [(60, 0.55), (0, 1.0), (120, 0.1), (180, 0.1)])
def test_the_angle_to_the_light(angle_deg: float, factor: float) -> None:
    torch.testing.assert_close(_shade(angle_deg), factor * ALBEDO[0])
    white = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(_shade(angle_deg, textureless=True), factor * white)


def test_ambient_light_alone_shows_the_albedo_exactly() -> None:
    assert torch.equal(_shade(60, ambient=1, diffuse=0), ALBEDO[0])


def test_a_textureless_point_sends_nothing_to_its_albedo() -> None:
    albedo = ALBEDO.clone().requires_grad_()
    (_shade(30, textureless=True, albedo=albedo).sum() + 0 * albedo.sum()).backward()
    assert albedo.grad is not None
    assert (albedo.grad == 0).all()
