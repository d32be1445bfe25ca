"""Images as bytes: what is saved is what is scored."""

import io

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def quantized(images: Float[Tensor, "*views h w 3"]) -> UInt8[np.ndarray, "*views h w 3"]:
    """Return images in [0, 1] as bytes, rounded: what is saved is what is scored."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def png_bytes(image: Float[Tensor, "h w 3"]) -> bytes:
    """Return one view as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(quantized(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def webp_bytes(frames: Float[Tensor, "frames h w 3"], *, frame_duration_ms: int) -> bytes:
    """Return frames as an endless animated WebP; equal frames give equal bytes."""
    first, *others = (Image.fromarray(frame) for frame in quantized(frames))
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=frame_duration_ms,
        loop=0,
        quality=85,
        method=4,
    )
    return buffer.getvalue()
