"""A model as its file has it: triangles with colours, passed between processes as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class RawModel:
    """Triangles in the file's own axes and units.

    `uvs` (v up) and linear RGB `colors` belong to the corners of faces. A face's albedo is its
    material's linear `factors`, times the colour, times the material's image; `images` are
    sRGB, row 0 on top, and `image_of` is -1 for a material without one.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    uvs: Float[np.ndarray, "faces 3 2"]
    colors: Float[np.ndarray, "faces 3 3"]
    material: Int[np.ndarray, " faces"]
    factors: Float[np.ndarray, "materials 3"]
    image_of: Int[np.ndarray, " materials"]
    images: tuple[UInt8[np.ndarray, "_ _ 3"], ...]

    def save(self, path: Path) -> None:
        """Write it as NPZ, without anything pickled."""
        images = {f"image_{index}": image for index, image in enumerate(self.images)}
        arrays: Mapping[str, np.ndarray] = {
            name: value for name, value in vars(self).items() if name != "images"
        }
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays, **images)

    @classmethod
    def load(cls, path: Path) -> "RawModel":
        """Read what `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            names = [name for name in stored.files if not name.startswith("image_") or
                     name == "image_of"]  # fmt: skip
            images = tuple(
                stored[f"image_{index}"] for index in range(len(stored.files) - len(names))
            )
            return cls(images=images, **{name: stored[name] for name in names})
