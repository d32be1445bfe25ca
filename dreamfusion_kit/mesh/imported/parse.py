"""Parses a model's file, in a process of its own: `python -m ... FOLDER FILE OUT`.

Trimesh's parsers see untrusted bytes. This process has bounded memory, time and output, reads no
file that is not in FOLDER, and passes the result on as plain arrays. It exits with status 3
and one line on stdout if it refuses the file.
"""

import io
import json
import resource
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image, UnidentifiedImageError
from trimesh.resolvers import Resolver
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import MultiMaterial, PBRMaterial

from dreamfusion_kit.errors import shortened
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.mesh.srgb import to_linear
from dreamfusion_kit.supervision import end_with_parent

REFUSED = 3
MAX_FACES = 1_000_000
MAX_SECONDS = 120
_MAX_MEMORY_BYTES = 8 << 30
_MAX_OUTPUT_BYTES = 4 << 30
_MAX_IMAGE_SIDE_PX = 8192
_MAX_IMAGES_PX = 1 << 28  # of all images together
_STL_HEADER_BYTES, _STL_TRIANGLE_BYTES = 84, 50
_NO_COLOR = 0.8  # sRGB, of a file that names none
_LINEAR_FORMATS = ("glb", "gltf")  # whose factors and vertex colours are linear


class RefusedError(Exception):
    """What is wrong with the file, in a few words."""


class _Given(Resolver):
    """Gives parsers the files that were checked, and no other."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }

    def get(self, key: str) -> bytes:
        plain = key.strip().replace("\\", "/").removeprefix("./")
        if plain not in self._files:
            raise RefusedError(f"refers to {shortened(ascii(plain), 80)}, which is not there")
        return self._files[plain].read_bytes()

    def keys(self) -> list[str]:
        return list(self._files)

    def namespaced(self, namespace: str) -> "Resolver":
        raise RefusedError(f"refers to the folder {shortened(ascii(namespace), 80)}")

    def write(self, name: str, data: bytes) -> None:
        raise RefusedError("asked to write")


def read_model(folder: Path, file: str) -> RawModel:
    """Return the model in `folder / file`, whose references lie in `folder` too.

    Raises:
        RefusedError: for a file without triangles, with numbers that are not finite, or too
            large. Parsers may raise anything else for a damaged file.
    """
    kind = file.rpartition(".")[2].lower()
    content = (folder / file).read_bytes()
    if kind == "stl":
        _check_stl(content)
    with _noting_damaged_images() as damaged:
        scene = trimesh.load_scene(
            io.BytesIO(content),
            file_type=kind,
            resolver=_Given(folder),
            process=False,
            allow_remote=False,
        )
    if damaged:
        raise RefusedError(f"has a texture that cannot be read ({damaged[0]}); export it again")
    return _Collector(is_linear=kind in _LINEAR_FORMATS).collect(scene)


def _check_stl(content: bytes) -> None:
    """Refuse a binary STL of another length than it says; it would be read as an empty text."""
    if content.lstrip()[:5] == b"solid" or len(content) < _STL_HEADER_BYTES:
        return
    count = int.from_bytes(content[_STL_HEADER_BYTES - 4 : _STL_HEADER_BYTES], "little")
    expected = _STL_HEADER_BYTES + _STL_TRIANGLE_BYTES * count
    if len(content) != expected:
        raise RefusedError(
            f"found {len(content):,} bytes, expected {expected:,} for the {count:,} triangles that "
            "it announces; the file is truncated or damaged"
        )


@contextmanager
def _noting_damaged_images() -> Generator[list[str], None, None]:
    """Yield what went wrong with images: trimesh leaves those that it cannot open out."""
    damaged: list[str] = []
    original = Image.open

    def noting(*arguments: Any, **options: Any) -> Any:
        try:
            return original(*arguments, **options)
        except UnidentifiedImageError:  # its text has an address in memory
            damaged.append("not of a known format")
            raise
        except Exception as error:
            damaged.append(shortened(" ".join(str(error).split()), 120))
            raise

    Image.open = noting
    try:
        yield damaged
    finally:
        Image.open = original


class _Collector:
    """Gathers the triangles of a scene in one list, with their colours."""

    def __init__(self, *, is_linear: bool) -> None:
        self._is_linear = is_linear
        self._images: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id of an image is used twice
        self._arrays: list[np.ndarray] = []
        self._factors: list[np.ndarray] = []
        self._image_of: list[int] = []
        self._pixels = 0

    def collect(self, scene: trimesh.Scene) -> RawModel:
        placed = [
            (scene.geometry[name], transform)
            for transform, name in (scene.graph[node] for node in scene.graph.nodes_geometry)
            if isinstance(scene.geometry[name], trimesh.Trimesh)
        ]
        total = sum(len(mesh.faces) for mesh, _ in placed)
        if total == 0:
            raise RefusedError("found no faces, expected triangles")
        if total > MAX_FACES:
            raise RefusedError(
                f"found {total:,} faces, expected at most {MAX_FACES:,}; decimate the model first"
            )
        parts = [self._part(mesh, np.asarray(matrix)) for mesh, matrix in placed if len(mesh.faces)]
        offsets = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
        faces = [part[1] + offset for part, offset in zip(parts, offsets, strict=True)]
        return RawModel(
            vertices=np.concatenate([part[0] for part in parts]),
            faces=np.concatenate(faces),
            uvs=np.concatenate([part[2] for part in parts]),
            colors=np.concatenate([part[3] for part in parts]),
            material=np.concatenate([part[4] for part in parts]),
            factors=np.array(self._factors, dtype=np.float64).reshape(-1, 3),
            image_of=np.array(self._image_of, dtype=np.int64),
            images=tuple(self._arrays),
        )

    def _part(self, mesh: trimesh.Trimesh, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
        local = np.array(mesh.vertices, dtype=np.float64)
        faces = np.array(mesh.faces, dtype=np.int64).reshape(-1, 3)
        if faces.min() < 0 or faces.max() >= len(local):
            raise RefusedError("found a face of vertices that do not exist; the file is damaged")
        vertices = local @ matrix[:3, :3].T + matrix[:3, 3]
        used = vertices[np.unique(faces)]
        if not np.isfinite(used).all() or np.abs(used).max() > 1e12:
            raise RefusedError("found positions that are not finite numbers, expected a surface")
        uvs = np.zeros((len(faces), 3, 2))
        colors = np.ones((len(faces), 3, 3))
        visual = mesh.visual
        if isinstance(visual, TextureVisuals):
            material = self._materials(visual, len(faces))
            if visual.uv is not None and len(visual.uv) == len(local):
                uvs = np.array(visual.uv, dtype=np.float64)[:, :2][faces]
                if not np.isfinite(uvs).all():
                    raise RefusedError("found UVs that are not finite numbers")
        else:
            material = np.full(len(faces), self._add(np.ones(3), -1))
            colors = self._vertex_colors(visual, faces)
        if np.linalg.det(matrix[:3, :3]) < 0:  # a mirrored part: keep its outside outside
            faces, uvs, colors = faces[:, ::-1], uvs[:, ::-1], colors[:, ::-1]
        return vertices, faces, uvs, colors, material

    def _vertex_colors(self, visual: Any, faces: np.ndarray) -> np.ndarray:
        if not isinstance(visual, ColorVisuals) or visual.kind is None:
            return np.full((len(faces), 3, 3), float(to_linear(np.full(3, _NO_COLOR))[0]))
        if visual.kind == "face":
            values = np.asarray(visual.face_colors)[:, None, :3].repeat(3, axis=1)
        else:
            values = np.asarray(visual.vertex_colors)[:, :3][faces]
        return self._linear(values / 255)

    def _materials(self, visual: TextureVisuals, num_faces: int) -> np.ndarray:
        found = visual.material
        if isinstance(found, MultiMaterial):
            indices = [self._material(each, has_uvs=visual.uv is not None) for each in
                       found.materials]  # fmt: skip
            own = visual.face_materials
            if own is None or not indices:
                raise RefusedError("found several materials without saying whose they are")
            return np.array(indices)[np.asarray(own)]
        return np.full(num_faces, self._material(found, has_uvs=visual.uv is not None))

    def _material(self, material: Any, *, has_uvs: bool) -> int:
        is_pbr = isinstance(material, PBRMaterial)
        image = material.baseColorTexture if is_pbr else getattr(material, "image", None)
        factor = material.baseColorFactor if is_pbr else getattr(material, "diffuse", None)
        if factor is None:
            linear = np.ones(3) if is_pbr else to_linear(np.full(3, _NO_COLOR))
        else:
            values = np.asarray(factor, dtype=np.float64)[:3]
            linear = self._linear(values / 255 if values.max() > 1 or not is_pbr else values)
        if image is None or not has_uvs:
            return self._add(linear, -1)
        # An MTL's Kd is left out where an image has the colour, as modelling programs do.
        return self._add(linear if is_pbr else np.ones(3), self._image(image))

    def _image(self, image: Any) -> int:
        if id(image) not in self._images:
            width, height = image.size
            self._pixels += width * height
            if max(width, height) > _MAX_IMAGE_SIDE_PX or self._pixels > _MAX_IMAGES_PX:
                raise RefusedError(
                    f"found a texture of {width} x {height} pixels, expected at most "
                    f"{_MAX_IMAGE_SIDE_PX} a side and {_MAX_IMAGES_PX >> 20} megapixels in all; "
                    "reduce it"
                )
            self._images[id(image)] = len(self._arrays)
            self._kept.append(image)
            self._arrays.append(np.array(image.convert("RGB"), dtype=np.uint8))
        return self._images[id(image)]

    def _add(self, factor: np.ndarray, image: int) -> int:
        self._factors.append(factor)
        self._image_of.append(image)
        return len(self._factors) - 1

    def _linear(self, values: np.ndarray) -> np.ndarray:
        return values if self._is_linear else to_linear(values)


def main() -> None:
    """Parse; exit with REFUSED and a line of JSON if the file is refused."""
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_OUTPUT_BYTES, _MAX_OUTPUT_BYTES))
    Image.MAX_IMAGE_PIXELS = _MAX_IMAGES_PX // 2  # Pillow refuses twice that before decoding
    folder, file, out = sys.argv[1:]
    try:
        read_model(Path(folder), file).save(Path(out))
    except RefusedError as error:
        problem = str(error)
    except MemoryError:
        problem = f"needs over {_MAX_MEMORY_BYTES >> 30} GiB to read; expected a smaller model"
    except Exception as error:  # A damaged file can raise anything from inside a parser.
        name = type(error).__name__
        reason = ": ".join(filter(None, [name, shortened(" ".join(str(error).split()), 120)]))
        kind = file.rpartition(".")[2].upper()
        problem = f"cannot be read ({reason}); expected a valid {kind}; export it again"
    else:
        return
    print(json.dumps(problem), flush=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
