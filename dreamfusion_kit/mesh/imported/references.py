"""The files that a model's file refers to, found without a parser of meshes.

A reference is followed only if it stays in the model's own folder.
"""

import json
import math
import struct
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import MeshError, shortened
from dreamfusion_kit.recipe.imported import SUFFIXES, is_inside

MAX_BYTES = 512 << 20  # of a model and all that it refers to
_MAX_FILES = 200
_MAX_JSON_BYTES = 64 << 20
_GLB_HEADER_BYTES = 20
_READ_EXTENSIONS = {"KHR_mesh_quantization"}
_HARMLESS = ("KHR_materials_", "KHR_lights_")
_CHANGES_COLOURS = {"KHR_texture_transform"}


def source_files(model: Path) -> dict[str, Path]:
    """Return every file that the model is made of, by its path relative to the model's folder.

    Raises:
        MeshError: if a file is missing or too large, or a reference leads out of the folder.
    """
    suffix = model.suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise MeshError(
            f"{model}: found a {suffix or 'nameless'} file, expected one of {', '.join(SUFFIXES)}"
        )
    found = {f"model.{suffix}": model}
    total = _size(model)
    pending = [(model, name) for name in _references(model, suffix)]
    while pending:
        referring, name = pending.pop(0)
        if name in found:
            continue
        path = model.parent / _checked(referring, name)
        total += _size(path, referring)
        found[name] = path
        if total > MAX_BYTES or len(found) > _MAX_FILES:
            raise MeshError(
                f"{model}: found over {MAX_BYTES >> 20} MiB or {_MAX_FILES} files with what it "
                "refers to, expected less; simplify the model"
            )
        if name.lower().endswith(".mtl"):
            pending += [(path, each) for each in _of_mtl(path)]
    return found


def _size(path: Path, referring: Path | None = None) -> int:
    where = f"{referring}: refers to {path.name}" if referring else str(path)
    if not path.is_file() or path.is_symlink():
        way = "copy it there, or export the model again" if referring else "check the path"
        raise MeshError(f"{where}: not there, expected a regular file; {way}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MeshError(
            f"{where}: found {size >> 20} MiB, expected at most {MAX_BYTES >> 20}; simplify it"
        )
    return size


def _checked(referring: Path, name: str) -> str:
    if not is_inside(name):
        raise MeshError(
            f"{referring}: refers to {shortened(ascii(name), 80)}, expected a file of the same "
            "folder with a plain name; copy it there and correct the reference"
        )
    return name


def _references(model: Path, suffix: str) -> list[str]:
    match suffix:
        case "glb" | "gltf":
            return list(_of_gltf(model, _gltf_json(model, suffix)))
        case "obj":
            return [name for name in _lines(model, b"mtllib ")]
        case "ply":
            return [name for name in _lines(model, b"comment TextureFile ", until=b"end_header")]
        case _:
            return []


def _gltf_json(model: Path, suffix: str) -> dict[str, Any]:
    try:
        with model.open("rb") as file:
            if suffix == "glb":
                header = file.read(_GLB_HEADER_BYTES)
                magic, version, _, length, kind = struct.unpack("<4sIII4s", header)
                if (magic, version, kind) != (b"glTF", 2, b"JSON") or length > _MAX_JSON_BYTES:
                    raise ValueError("not a binary glTF 2.0")
                content = file.read(length)
            else:
                content = file.read(_MAX_JSON_BYTES + 1)
        tree = json.loads(content, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError, struct.error) as error:
        reason = shortened(str(error).splitlines()[0], 100)
        raise MeshError(f"{model}: {reason}; expected glTF 2.0; export it again") from None
    version = tree.get("asset", {}).get("version") if isinstance(tree, dict) else None
    if not isinstance(version, str) or not version.startswith("2."):
        raise MeshError(f"{model}: found glTF {version}, expected 2.0; export it again")
    return tree


def _finite(text: str) -> float:
    """Return a number of JSON, which has neither NaN nor infinity: as a colour they would be 0."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _of_gltf(model: Path, tree: dict[str, Any]) -> Iterator[str]:
    needed = {str(name) for name in _list(tree, "extensionsRequired")}
    needed |= _CHANGES_COLOURS & {str(name) for name in _list(tree, "extensionsUsed")}
    unread = sorted(name for name in needed - _READ_EXTENSIONS if not name.startswith(_HARMLESS))
    if unread:
        raise MeshError(
            f"{model}: needs {', '.join(unread)}, which is not read; expected plain glTF 2.0; "
            "export it without"
        )
    for kind in ("buffers", "images"):
        for entry in _list(tree, kind):
            uri = entry.get("uri") if isinstance(entry, dict) else None
            if isinstance(uri, str) and not uri.startswith("data:"):
                yield urllib.parse.unquote(uri)


def _list(tree: dict[str, Any], key: str) -> list[Any]:
    found = tree.get(key, [])
    return found if isinstance(found, list) else []


def _lines(path: Path, start: bytes, *, until: bytes | None = None) -> list[str]:
    names: list[str] = []
    with path.open("rb") as file:
        for line in file:
            if line.startswith(start):
                name = line.removeprefix(start).strip().decode("utf-8", "replace")
                if name and name not in names:
                    names.append(name.replace("\\", "/").removeprefix("./"))
            if until is not None and line.startswith(until):
                break
    return names


def _of_mtl(path: Path) -> list[str]:
    """Return the images of the diffuse colour, which are all that is read of a material."""
    return [_without_options(name) for name in _lines(path, b"map_Kd ")]


def _without_options(text: str) -> str:
    """Return the file name of a line such as `-s 1 1 1 wood.png`."""
    words = text.split(" ")
    while len(words) > 1 and words[0].startswith("-"):
        words = words[1:]
        while len(words) > 1 and _is_value(words[0]):
            words = words[1:]
    return " ".join(words)


def _is_value(word: str) -> bool:
    return word in ("on", "off") or word.replace(".", "", 1).lstrip("-").isdigit()
