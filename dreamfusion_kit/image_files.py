"""Images as files without metadata: equal pixels give equal bytes."""

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
