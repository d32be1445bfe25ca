"""The size that the header of an HDR or EXR picture claims, read without decoding a pixel.

Radiance's run lengths and EXR's compression let a small file claim a picture that no memory holds,
so the size has to be known before any decoder sees the file. A header that a decoder could read in
another way than this file is refused.
"""

import re
import struct
from pathlib import Path

from dreamfusion_kit.errors import DreamFusionKitError

_HEADER_BYTES = 1 << 20
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_RADIANCE_MAGIC = (b"#?RADIANCE", b"#?RGBE")
_RADIANCE_SIZE = re.compile(rb"[-+]Y +(\d{1,10}) +[-+]X +(\d{1,10})\s*")


def picture_size(path: Path) -> tuple[int, int]:
    """Return the width and height in pixels that the header of an HDR or EXR file claims.

    Raises:
        DreamFusionKitError: if the file has no such header.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    try:
        if head.startswith(_EXR_MAGIC):
            return _exr_size(head)
        if head.startswith(_RADIANCE_MAGIC):
            return _radiance_size(head)
    except (ValueError, IndexError, struct.error):
        pass
    raise DreamFusionKitError(
        f"{path}: cannot be read (no size in its header), expected an .hdr or .exr picture"
    )


def _radiance_size(head: bytes) -> tuple[int, int]:
    """Return the size from the first line after the empty one that ends the variables.

    Some decoders take the first line that looks like a size, wherever it stands, and none may
    stand among the variables.
    """
    lines = iter(head.replace(b"\r", b"").split(b"\n"))
    for line in lines:
        if not line.strip():
            break
        if line.split()[0][1:] in (b"X", b"Y"):
            raise ValueError
    found = _RADIANCE_SIZE.fullmatch(next(lines, b""))
    if found is None:
        raise ValueError
    height, width = (int(group) for group in found.groups())
    return width, height


def _exr_size(head: bytes) -> tuple[int, int]:
    """Return the size of the data window of a file with one part.

    An attribute is a name and a type, each ended by a zero byte, a 32-bit length and the value;
    an empty name ends the header (OpenEXR, File Layout).
    """
    (flags,) = struct.unpack_from("<I", head, 4)
    if flags & 0x1000:
        raise ValueError  # several parts
    place, sizes = 8, list[tuple[int, int]]()
    while head[place] != 0:
        name_end = head.index(b"\0", place)
        type_end = head.index(b"\0", name_end + 1)
        (length,) = struct.unpack_from("<I", head, type_end + 1)
        value = type_end + 5
        if head[place:name_end] == b"dataWindow":
            left, top, right, bottom = struct.unpack_from("<4i", head, value)
            sizes.append((right - left + 1, bottom - top + 1))
        place = value + length
    if len(sizes) != 1:
        raise ValueError
    return sizes[0]
