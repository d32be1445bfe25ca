"""Images as bytes, read back by Pillow."""

import io

import numpy as np
import torch
from PIL import Image

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.pixels import png_bytes, quantized, webp_bytes


def test_an_animation_has_every_frame_and_equal_bytes() -> None:
    frames = torch.rand(5, 32, 32, 3, generator=seeding.generator(0, "test"))
    data = webp_bytes(frames, frame_duration_ms=80)
    assert data == webp_bytes(frames.clone(), frame_duration_ms=80)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        assert image.n_frames == 5


def test_png_holds_the_rounded_bytes() -> None:
    view = torch.linspace(0, 1, 4 * 4 * 3).reshape(4, 4, 3)
    with Image.open(io.BytesIO(png_bytes(view))) as image:
        pixels = np.asarray(image)
    assert pixels.tolist() == (view * 255).round().long().tolist()
    assert np.array_equal(quantized(view), pixels)
