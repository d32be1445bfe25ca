"""The metallic-roughness material under a point light: glTF 2.0, appendix B.

Letters: n the normal, l and v the unit directions to light and eye, h the half vector,
alpha the square of the roughness, m the metallic, c the base colour. All colours are linear.

    f       = mix((1 - F(0.04)) c / pi + F(0.04) S, F(c) S, m)   a dielectric and a metal
    F(f0)   = f0 + (1 - f0) (1 - v.h)^5                          Schlick's
    S       = D G / (4 (n.l) (n.v))
    D       = alpha^2 / (pi ((n.h)^2 (alpha^2 - 1) + 1)^2)
    G/(4..) = V(l) V(v),  V(x) = 1 / (n.x + sqrt(alpha^2 + (1 - alpha^2) (n.x)^2))

Schlick's term is linear in f0, so both highlights are one, with f0 = mix(0.04, c, m). The
diffuse part is the dielectric's alone: c's Fresnel term takes nothing from it. (The appendix's
former shortened form had it otherwise, and half-metals too dark: KhronosGroup/glTF, issue 2386.)

What is returned is pi f (n.l): the share of the light that a white sheet facing it would send
back, so that a light of strength 1 shows such a sheet as 1, as `shading.shade` does.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_DIELECTRIC = 0.04  # reflectance at normal incidence of an index of 1.5
SMOOTHEST = 0.05  # roughness below which a point light's highlight falls between pixels
_LEAST = 1e-4  # of a cosine that divides


def reflected(
    base: Float[Tensor, "points 3"],
    roughness: Float[Tensor, " points"],
    metallic: Float[Tensor, " points"],
    normals: Float[Tensor, "points 3"],
    to_light: Float[Tensor, "points 3"],
    to_eye: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """Return pi f (n.l), linear; 0 where the light is behind the surface.

    A surface seen from behind or edge-on is taken as seen just above its plane. Differentiable in
    all arguments; directions are unit.
    """
    cosine_light = (normals * to_light).sum(dim=-1)
    cosine_eye = (normals * to_eye).sum(dim=-1).clamp_min(_LEAST)
    half = torch.nn.functional.normalize(to_light + to_eye, dim=-1)
    lit = cosine_light.clamp_min(_LEAST)
    alpha2 = roughness.clamp_min(SMOOTHEST) ** 4
    cosine_half = (to_eye * half).sum(dim=-1).clamp(0, 1)
    fresnel = _fresnel(base, metallic, cosine_half)
    peak = _distribution((normals * half).sum(dim=-1).clamp(0, 1), alpha2)
    visibility = _masking(lit, alpha2) * _masking(cosine_eye, alpha2)
    diffuse = base * ((1 - metallic) * _under_gloss(cosine_half))[:, None]
    specular = math.pi * fresnel * (peak * visibility)[:, None]
    return (diffuse + specular) * (lit * (cosine_light > 0))[:, None]


def ambient_reflected(
    base: Float[Tensor, "points 3"], metallic: Float[Tensor, " points"]
) -> Float[Tensor, "points 3"]:
    """Return what the surface sends back of light from everywhere, by its normal reflectance."""
    one = torch.ones_like(metallic)
    diffuse = base * ((1 - metallic) * _under_gloss(one))[:, None]
    return diffuse + _fresnel(base, metallic, one)


def shade_ggx(
    albedo: Float[Tensor, "points 3"],
    material: Float[Tensor, "points 2"],
    normals: Float[Tensor, "points 3"],
    positions: Float[Tensor, "points 3"],
    eyes: Float[Tensor, "points 3"],
    light_positions: Float[Tensor, "points 3"],
    ambient: Float[Tensor, " points"],
    diffuse: Float[Tensor, " points"],
    textureless: Bool[Tensor, " points"],
) -> Float[Tensor, "points 3"]:
    """Return display colours, sRGB in [0, 1], of points with a roughness and a metallic.

    Args:
        albedo: sRGB in [0, 1].
        material: Roughness and metallic, in [0, 1].
        normals: Unit, outward.
        positions: Of the points.
        eyes: Of the cameras that see them.
        light_positions: Of the lights.
        ambient: Strength of the light from everywhere.
        diffuse: Strength of the point light.
        textureless: Which points are shown as white without a highlight instead.
    """
    white = torch.ones_like(albedo)
    plain = textureless[:, None]
    base = torch.where(plain, white, to_linear(albedo))
    material = torch.where(plain, material.new_tensor([1.0, 0.0]), material)
    roughness, metallic = material.unbind(dim=-1)
    to_light = torch.nn.functional.normalize(light_positions - positions, dim=-1)
    to_eye = torch.nn.functional.normalize(eyes - positions, dim=-1)
    light = reflected(base, roughness, metallic, normals, to_light, to_eye)
    found = diffuse[:, None] * light + ambient[:, None] * ambient_reflected(base, metallic)
    return to_srgb(found.clamp(0, 1))


def to_linear(encoded: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
    """Return linear light for sRGB values in [0, 1]."""
    low = encoded / 12.92
    return torch.where(encoded <= 0.04045, low, ((encoded.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
    """Return sRGB values for linear light in [0, 1]; the inverse of `to_linear`."""
    high = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, high)


def _fresnel(
    base: Float[Tensor, "points 3"],
    metallic: Float[Tensor, " points"],
    cosine: Float[Tensor, " points"],
) -> Float[Tensor, "points 3"]:
    normal = torch.lerp(torch.full_like(base, _DIELECTRIC), base, metallic[:, None])
    return _schlick(normal, cosine[:, None])


def _under_gloss(cosine: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Return the share of the light that a dielectric's highlight leaves to what is below it."""
    return 1 - _schlick(torch.full_like(cosine, _DIELECTRIC), cosine)


def _schlick(normal: Tensor, cosine: Tensor) -> Tensor:
    return normal + (1 - normal) * (1 - cosine) ** 5


def _distribution(
    cosine: Float[Tensor, " points"], alpha2: Float[Tensor, " points"]
) -> Float[Tensor, " points"]:
    return alpha2 / (math.pi * (cosine**2 * (alpha2 - 1) + 1) ** 2)


def _masking(
    cosine: Float[Tensor, " points"], alpha2: Float[Tensor, " points"]
) -> Float[Tensor, " points"]:
    return 1 / (cosine + (alpha2 + (1 - alpha2) * cosine**2).sqrt())
