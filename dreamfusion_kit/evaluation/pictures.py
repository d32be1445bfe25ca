"""Fine structure of pictures, and how colourful they are inside an outline.

No suite keeps these measures; `scripts/critics.py` compares guidances by them.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

_HALF_NYQUIST = 0.25  # cycles per pixel
_DARKEST = 1e-6
_MARGIN = 1 / 64  # of an image's side


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


def saturation_inside(
    views: Float[Tensor, "views h w 3"], object_pixels: Bool[Tensor, "views h w"]
) -> float | None:
    """Return the mean HSV saturation of an object's pixels, 0 to 1; None where none is left.

    Pixels within 1/64 of the image's side of the outline are left out: the background shines
    through there, in a field more than in a mesh. Grey light does not change a saturation.
    """
    margin = max(1, round(_MARGIN * views.shape[2]))
    outside = (~object_pixels).float()[:, None]
    near = max_pool2d(outside, 2 * margin + 1, stride=1, padding=margin)[:, 0]
    inner = views[near == 0]
    if len(inner) == 0:
        return None
    high, low = inner.amax(dim=1), inner.amin(dim=1)
    return float(((high - low) / high.clamp(min=_DARKEST)).mean())
