"""PNG files, read by another library's decoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.io import imread

from dreamfusion_kit.image_files import png_bytes, quantized, webp_bytes


def test_a_png_holds_the_pixels_and_no_metadata() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = png_bytes(pixels)
    assert np.array_equal(imread(io.BytesIO(content)), pixels)
    assert content == png_bytes(pixels[:, ::-1][:, ::-1])  # however it lies in memory
    kinds = [content[place - 4 : place] for place in _chunks(content)]
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_an_animation_has_every_frame_and_equal_bytes() -> None:
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    data = webp_bytes(frames, frame_duration_ms=80)
    assert data == webp_bytes(frames.clone(), frame_duration_ms=80)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        assert image.n_frames == 5


def _chunks(content: bytes) -> list[int]:
    """Return where the data of each chunk starts: 4 bytes of length, 4 of kind, data, 4 of CRC."""
    places, at = [], 8
    while at < len(content):
        places.append(at + 8)
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return places


@pytest.mark.parametrize(
    ("value", "byte"),
    [(0.0, 0), (1.0, 255), (-0.5, 0), (1.5, 255), (0.5, 128),
     (100.4 / 255, 100), (100.6 / 255, 101)],
)  # fmt: skip
def test_values_are_clamped_and_rounded(value: float, byte: int) -> None:
    assert quantized(torch.full((1, 1, 3), value)).tolist() == [[[byte] * 3]]
