"""The transfer curve of sRGB (IEC 61966-2-1)."""

import numpy as np
from jaxtyping import Float


def to_linear(encoded: Float[np.ndarray, "*rows 3"]) -> Float[np.ndarray, "*rows 3"]:
    """Return linear light for sRGB values in [0, 1]."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[np.ndarray, "*rows 3"]) -> Float[np.ndarray, "*rows 3"]:
    """Return sRGB values for linear light in [0, 1]; the inverse of `to_linear`."""
    low = 12.92 * linear
    return np.where(linear <= 0.0031308, low, 1.055 * linear.clip(min=0) ** (1 / 2.4) - 0.055)
