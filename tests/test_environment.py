"""Environments: their exposure, their character, and the HDR file read by another library."""

from pathlib import Path

import mitsuba
import numpy as np
import pytest

from dreamfusion_kit.environment import LIGHT_NAMES, LightName, environment, hdr_bytes

HEIGHT = 64


def irradiance_from_above(radiance: np.ndarray) -> float:
    """Integrate radiance times cosine over the upper half, by a sum over pixels of its own."""
    total = 0.0
    for row in range(HEIGHT // 2):
        upper, lower = np.cos(np.pi * np.array([row, row + 1]) / HEIGHT)
        cosine = (upper + lower) / 2
        total += radiance[row].mean() * (upper - lower) * 2 * np.pi * cosine
    return total


@pytest.mark.parametrize("name", LIGHT_NAMES)
def test_every_light_has_the_same_exposure(name: LightName) -> None:
    radiance = environment(name, height_px=HEIGHT)
    assert radiance.shape == (HEIGHT, 2 * HEIGHT, 3)
    assert radiance.min() > 0
    assert irradiance_from_above(radiance) == pytest.approx(0.9 * np.pi, rel=0.01)
    np.testing.assert_array_equal(radiance, environment(name, height_px=HEIGHT))


def test_their_characters_differ() -> None:
    studio, sunset, overcast = (environment(name, height_px=HEIGHT) for name in LIGHT_NAMES)
    assert overcast[0].mean() / overcast[HEIGHT // 2 - 1].mean() == pytest.approx(3, rel=0.1)
    assert sunset[..., 0].sum() > 1.5 * sunset[..., 2].sum()
    # The sun and the key light stand on the side of +y: left of the middle, which is +x.
    for picture in (sunset, studio):
        column = picture.sum(axis=(0, 2)).argmax()
        assert HEIGHT // 2 < column < HEIGHT


@pytest.mark.parametrize("name", LIGHT_NAMES)
def test_the_hdr_file_reads_back(tmp_path: Path, name: LightName) -> None:
    mitsuba.set_variant("scalar_rgb")
    radiance = environment(name, height_px=HEIGHT)
    path = tmp_path / "light.hdr"
    path.write_bytes(hdr_bytes(radiance))
    assert path.stat().st_size < 35_000
    found = np.array(mitsuba.Bitmap(str(path)))[..., :3]
    largest = radiance.max(axis=-1, keepdims=True)
    assert (np.abs(found - radiance) / largest).max() < 1 / 64
