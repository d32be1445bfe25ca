"""Images as 8-bit PNG files without metadata: equal pixels give equal bytes."""

import io

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def quantized(images: Float[Tensor, "*batch h w 3"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Return images in [0, 1] as bytes, clamped and rounded: what is saved is what is scored."""
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def png_bytes(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return an 8-bit RGB PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return buffer.getvalue()
