"""Sizes in headers, against files that Mitsuba wrote, and headers that have none."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamfusion_kit.environment import hdr_bytes
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.scene.photograph import check_mitsuba
from dreamfusion_kit.scene.picture_size import picture_size

EXR = b"\x76\x2f\x31\x01\x02\x00\x00\x00"


@pytest.mark.parametrize("name", ["light.hdr", "light.exr"])
def test_it_is_that_of_files_that_others_write(tmp_path: Path, name: str) -> None:
    check_mitsuba()
    mitsuba: Any = importlib.import_module("mitsuba")
    mitsuba.set_variant("scalar_rgb")
    mitsuba.Bitmap(np.ones((5, 12, 3), np.float32)).write(str(tmp_path / name))
    assert picture_size(tmp_path / name) == (12, 5)


def test_it_is_that_of_the_kits_own_files(tmp_path: Path) -> None:
    (tmp_path / "light.hdr").write_bytes(hdr_bytes(np.ones((4, 6, 3), np.float32)))
    assert picture_size(tmp_path / "light.hdr") == (6, 4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#?RADIANCE\n\n",
        b"#?RADIANCE\n\n-Y x +X 4\n",
        b"#?RADIANCE\n\n+X 4 -Y 2\n",
        b"#?RADIANCE\n -Y 100000 +X 200000\n\n-Y 2 +X 4\n",
        b"P6 4 2 255\n",
        EXR,
        EXR + b"dataWindow\0box2i\0\x10\0\0\0",
        EXR + b"\0",
        EXR + 2 * (b"dataWindow\0box2i\0\x10\0\0\0" + bytes(16)) + b"\0",
        EXR + b"name\0string\0\xff\xff\xff\xff",
        b"\x76\x2f\x31\x01\x02\x10\x00\x00\0",
    ],
)
def test_a_header_without_one_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "light.exr").write_bytes(content)
    with pytest.raises(DreamFusionKitError, match="no size in its header"):
        picture_size(tmp_path / "light.exr")
