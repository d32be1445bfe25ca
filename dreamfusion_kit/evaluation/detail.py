"""How much fine structure pictures have: the energy of the upper half of their spectrum.

No metric of the suites: the docs' tables of guidances read it (`scripts/critics.py`).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

_HALF_NYQUIST = 0.25  # cycles per pixel


def detail(views: Float[Tensor, "views h h 3"], *, size_px: int) -> float:
    """Return the variance of what lies above half the Nyquist frequency, colours from 0 to 1.

    It is the mean over views and channels. A frequency is a wave's number of cycles per pixel in
    its own direction. Pictures to be compared need the same plain background, whose only share
    is the object's outline.

    Args:
        views: Square pictures.
        size_px: They are averaged over blocks down to this size first, such as that of the
            images which the prior sees: it asks nothing of finer structure.

    Raises:
        ValueError: unless `size_px` divides the pictures' size.
    """
    block, rest = divmod(views.shape[1], size_px)
    if rest:
        raise ValueError(f"found pictures of {views.shape[1]} px, expected a multiple of {size_px}")
    images = avg_pool2d(views.double().movedim(-1, 1), block)
    energy = torch.fft.fft2(images, norm="forward").abs().square()
    frequency = torch.fft.fftfreq(size_px, dtype=torch.float64)
    radius = torch.hypot(frequency[:, None], frequency)
    return float(energy[..., radius > _HALF_NYQUIST].sum(dim=-1).mean())
