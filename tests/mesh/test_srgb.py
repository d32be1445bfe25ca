"""The curve of sRGB."""

import numpy as np
import pytest

from dreamfusion_kit.mesh.srgb import to_linear, to_srgb


def test_srgb_and_linear_are_inverse() -> None:
    values = np.linspace(0, 1, 256)[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-12)
    assert to_linear(np.full((1, 3), 0.5))[0, 0] == pytest.approx(0.21404, abs=1e-5)
