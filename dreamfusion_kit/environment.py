"""Light from all around, as small pictures made by formulas: studio, sunset and overcast.

A picture is equirectangular, linear, row 0 straight up; its middle column is the direction of
world +x, the front of objects, and azimuth grows to the left, as seen from the middle. Each
one lights an upward white surface to about the same brightness, so that changing the light does
not change the exposure.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

LightName = Literal["studio", "sunset", "overcast"]
LIGHT_NAMES: tuple[LightName, ...] = get_args(LightName)

Directions = Float[np.ndarray, "h w 3"]
_GROUND = 0.15  # radiance from below, relative to the sky's, so that nothing is black


def environment(name: LightName, *, height_px: int = 64) -> Float[np.ndarray, "h w 3"]:
    """Return an environment's linear radiance, twice as wide as high.

    A white surface that faces up reflects radiance 0.9: its irradiance is 0.9 pi.
    """
    directions, solid_angles = _sphere(height_px)
    radiance = _RADIANCE[name](directions)
    up = directions[..., 2].clip(min=0) * solid_angles
    irradiance = float((radiance.mean(axis=-1) * up).sum())
    return (radiance * (0.9 * np.pi / irradiance)).astype(np.float32)


def hdr_bytes(radiance: Float[np.ndarray, "h w 3"]) -> bytes:
    """Return a picture as Radiance HDR: a shared exponent per pixel, without compression."""
    height, width, _ = radiance.shape
    mantissa, exponent = np.frexp(radiance.max(axis=-1))
    peak = radiance.max(axis=-1)
    scale = np.where(peak > 1e-32, mantissa * 256 / np.where(peak > 0, peak, 1), 0)
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    pixels[..., :3] = (radiance * scale[..., None]).clip(0, 255)
    pixels[..., 3] = np.where(scale > 0, exponent + 128, 0)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    return header.encode() + pixels.tobytes()


def _sphere(height_px: int) -> tuple[Directions, Float[np.ndarray, "h w"]]:
    """Return each pixel's direction, z up, and its solid angle."""
    width_px = 2 * height_px
    polar = np.pi * (np.arange(height_px) + 0.5) / height_px
    azimuth = np.pi - 2 * np.pi * (np.arange(width_px) + 0.5) / width_px
    sine, cosine = np.sin(polar)[:, None], np.cos(polar)[:, None]
    directions = np.stack(
        np.broadcast_arrays(sine * np.cos(azimuth), sine * np.sin(azimuth), cosine), axis=-1
    )
    area = np.broadcast_to(sine * (np.pi / height_px) ** 2, (height_px, width_px))
    return directions, area


def _toward(azimuth_deg: float, elevation_deg: float) -> Float[np.ndarray, "3"]:
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _spot(
    directions: Directions, azimuth_deg: float, elevation_deg: float, radius_deg: float, soft: float
) -> Float[np.ndarray, "h w 1"]:
    """Return 1 inside a disc of the sky, 0 outside, over an edge of `soft` times its radius."""
    cosine = (directions @ _toward(azimuth_deg, elevation_deg)).clip(-1, 1)
    angle = np.degrees(np.arccos(cosine))
    ramp = ((radius_deg * (1 + soft) - angle) / (2 * soft * radius_deg)).clip(0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[..., None]


def _studio(directions: Directions) -> Directions:
    """Return a grey room with a large key light, a weaker fill and a strip behind."""
    room = 0.17 + 0.08 * directions[..., 2:].clip(min=-1)
    key = _spot(directions, 50, 48, 22, 0.15) * np.array([9.0, 8.7, 8.2])
    fill = _spot(directions, -65, 25, 26, 0.25) * np.array([1.6, 1.75, 2.0])
    rim = _spot(directions, 165, 35, 14, 0.2) * np.array([6.0, 6.0, 6.2])
    return room + key + fill + rim


def _sunset(directions: Directions) -> Directions:
    """Return a low sun in a glow, from orange at the horizon to blue above."""
    height = directions[..., 2:]
    horizon, zenith = np.array([1.0, 0.42, 0.18]), np.array([0.16, 0.22, 0.45])
    blend = np.exp(-5 * height.clip(min=0))
    sky = horizon * blend + zenith * (1 - blend)
    glow = _spot(directions, 55, 10, 45, 0.95) * np.array([1.5, 0.75, 0.3])
    sun = _spot(directions, 55, 14, 5, 0.3) * np.array([190.0, 112.0, 52.0])
    ground = _GROUND * np.array([0.9, 0.55, 0.4])
    return np.where(height > 0, sky + glow + sun, ground)


def _overcast(directions: Directions) -> Directions:
    """Return the CIE's overcast sky, three times as bright overhead as at the horizon."""
    height = directions[..., 2:]
    sky = (1 + 2 * height.clip(min=0)) / 3 * np.array([0.96, 1.0, 1.06])
    return np.where(height > 0, sky, _GROUND * np.array([1.0, 0.98, 0.95]))


_RADIANCE: Mapping[LightName, Callable[[Directions], Directions]] = {
    "studio": _studio,
    "sunset": _sunset,
    "overcast": _overcast,
}
