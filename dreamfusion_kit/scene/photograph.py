"""Pictures of models under an environment, by path tracing in Mitsuba 3.

Mitsuba's variant scalar_rgb needs no LLVM, no GPU and no OpenGL; its result does not depend on
the number of threads.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dreamfusion_kit.errors import DreamFusionKitError, MissingExtraError
from dreamfusion_kit.mesh.srgb import to_linear, to_srgb
from dreamfusion_kit.recipe.scene import LampSection
from dreamfusion_kit.scene.picture_size import picture_size
from dreamfusion_kit.scene.placement import Instance, Model

_VARIANT = "scalar_rgb"
_MAX_DEPTH = 5
_SPECULAR = 0.5  # 4 % reflected at normal incidence, as glTF's materials have it
_MAX_ENVIRONMENT_BYTES = 256 << 20
_MAX_ENVIRONMENT_PX = 16384


@dataclass(frozen=True)
class Light:
    """An equirectangular environment, linear, as `environment` makes it, and lamps.

    `rotation_deg` turns it about z.
    """

    radiance: Float[np.ndarray, "h w 3"]
    strength: float = 1.0
    rotation_deg: float = 0.0
    lamps: Sequence[LampSection] = ()


@dataclass(frozen=True)
class Shot:
    """A picture to take: from `distance` around `target`, in metres; azimuth 0 is +x."""

    target: tuple[float, float, float]
    distance: float
    azimuth_deg: float
    elevation_deg: float
    fov_y_deg: float
    image_size_px: tuple[int, int]
    samples_per_pixel: int


def check_mitsuba() -> None:
    """Refuse to continue where Mitsuba is not installed.

    Raises:
        MissingExtraError: with the command that installs it.
    """
    if importlib.util.find_spec("mitsuba") is None:
        raise MissingExtraError(
            "pictures: cannot be taken, Mitsuba is not installed; expected the extra render: "
            "pip install 'dreamfusion-kit[render]'"
        )


def read_environment(path: Path) -> Float[np.ndarray, "h w 3"]:
    """Return the linear radiance of an equirectangular HDR or EXR file.

    Raises:
        DreamFusionKitError: if it is missing, not such a picture, or too large.
        MissingExtraError: if Mitsuba is not installed.
    """
    if path.suffix.lower() not in (".hdr", ".exr") or not path.is_file():
        raise DreamFusionKitError(f"{path}: not there, expected an .hdr or .exr file")
    if path.stat().st_size > _MAX_ENVIRONMENT_BYTES:
        raise DreamFusionKitError(
            f"{path}: found over {_MAX_ENVIRONMENT_BYTES >> 20} MiB; reduce the picture"
        )
    _check_size(path, *picture_size(path))  # before a decoder makes room for what it claims
    mitsuba = _mitsuba()
    try:
        bitmap = mitsuba.Bitmap(str(path)).convert(
            mitsuba.Bitmap.PixelFormat.RGB, mitsuba.Struct.Type.Float32, srgb_gamma=False
        )
        radiance = np.array(bitmap, dtype=np.float32)
    except Exception as error:  # whatever a C++ reader raises for a damaged file
        reason = " ".join(str(error).split())[:100]
        raise DreamFusionKitError(
            f"{path}: cannot be read ({reason}), expected an .hdr or .exr picture"
        ) from None
    height, width = radiance.shape[:2]
    _check_size(path, width, height)
    if not np.isfinite(radiance).all() or radiance.min() < 0 or not radiance.max() > 0:
        raise DreamFusionKitError(f"{path}: found values that are not light, expected radiance")
    return radiance


def _check_size(path: Path, width: int, height: int) -> None:
    if width != 2 * height or not 0 < width <= _MAX_ENVIRONMENT_PX:
        raise DreamFusionKitError(
            f"{path}: found {width} x {height} pixels, expected an equirectangular picture, twice "
            f"as wide as high, at most {_MAX_ENVIRONMENT_PX} wide"
        )


class Studio:
    """Models and light, loaded once for any number of pictures."""

    def __init__(
        self, models: Mapping[str, Model], instances: Sequence[Instance], light: Light
    ) -> None:
        """Load everything into the path tracer.

        Raises:
            MissingExtraError: if Mitsuba is not installed.
        """
        self._mitsuba = _mitsuba()
        description: dict[str, Any] = {
            "type": "scene",
            "environment": self._environment(light),
        }
        for instance in instances:
            shape = self._shape(models[instance.model], instance)
            description[f"object_{instance.name}"] = shape
        for index, lamp in enumerate(light.lamps):
            description[f"lamp_{index}"] = self._lamp(lamp)
        self._scene = self._mitsuba.load_dict(description)

    def picture(
        self, shot: Shot, *, background: tuple[float, float, float] | None, seed: int
    ) -> Float[np.ndarray, "h w 3"]:
        """Return a picture, sRGB in [0, 1].

        Args:
            shot: Where from, how large and how carefully.
            background: sRGB behind everything; None shows the environment.
            seed: Of the paths.
        """
        mitsuba = self._mitsuba
        integrator = {
            "type": "path",
            "max_depth": _MAX_DEPTH,
            "hide_emitters": background is not None,
        }
        rendered = mitsuba.render(
            self._scene,
            sensor=self._sensor(shot),
            integrator=mitsuba.load_dict(integrator),
            seed=seed,
            spp=shot.samples_per_pixel,
        )
        pixels = np.array(rendered, dtype=np.float64)
        light, alpha = pixels[..., :3], pixels[..., 3:4].clip(0, 1)
        if background is not None:
            light = light + (1 - alpha) * to_linear(np.array(background, dtype=np.float64))
        return to_srgb(light.clip(0, 1))

    def _sensor(self, shot: Shot) -> Any:
        azimuth, elevation = np.radians([shot.azimuth_deg, shot.elevation_deg])
        toward = [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
        eye = [t + shot.distance * d for t, d in zip(shot.target, toward, strict=True)]
        width, height = shot.image_size_px
        look = self._mitsuba.ScalarTransform4f().look_at(
            origin=eye, target=list(shot.target), up=[0, 0, 1]
        )
        return self._mitsuba.load_dict(
            {
                "type": "perspective",
                "fov": shot.fov_y_deg,
                "fov_axis": "y",
                "near_clip": shot.distance * 1e-3,
                "far_clip": shot.distance * 1e3,
                "to_world": look,
                "sampler": {"type": "multijitter", "sample_count": shot.samples_per_pixel},
                "film": {
                    "type": "hdrfilm",
                    "width": width,
                    "height": height,
                    "pixel_format": "rgba",
                    # A wider filter sums at the borders of blocks in the order of threads.
                    "rfilter": {"type": "box"},
                },
            }
        )

    def _environment(self, light: Light) -> dict[str, Any]:
        transform = self._mitsuba.ScalarTransform4f
        # Mitsuba's environments are y-up, their middle column looks along +z from inside.
        turn = transform().rotate([0, 0, 1], light.rotation_deg + 90).rotate([1, 0, 0], 90)
        return {
            "type": "envmap",
            "bitmap": self._mitsuba.Bitmap(np.ascontiguousarray(light.radiance, dtype=np.float32)),
            "scale": light.strength,
            "to_world": turn,
        }

    def _shape(self, model: Model, instance: Instance) -> Any:
        mitsuba = self._mitsuba
        properties = mitsuba.Properties()
        properties["mesh_bsdf"] = mitsuba.load_dict(self._material(model))
        mesh = mitsuba.Mesh(
            instance.name,
            len(model.vertices),
            len(model.faces),
            has_vertex_normals=True,
            has_vertex_texcoords=model.uvs is not None,
            props=properties,
        )
        linear, shift = instance.transform[:3, :3], instance.transform[:3, 3]
        normals = model.normals @ np.linalg.inv(linear)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-30)
        values = mitsuba.traverse(mesh)
        values["vertex_positions"] = _flat(model.vertices @ linear.T + shift)
        values["vertex_normals"] = _flat(normals)
        if model.uvs is not None:
            values["vertex_texcoords"] = _flat(model.uvs * [1, -1] + [0, 1])  # v runs down
        values["faces"] = model.faces.astype(np.uint32).ravel()
        values.update()
        return mesh

    def _material(self, model: Model) -> dict[str, Any]:
        mitsuba = self._mitsuba
        if model.texture is None:
            linear = to_linear(np.array(model.color, dtype=np.float64)).tolist()
            color: dict[str, Any] = {"type": "rgb", "value": linear}
        else:
            bitmap = mitsuba.Bitmap(np.ascontiguousarray(model.texture))
            color = {"type": "bitmap", "bitmap": bitmap, "wrap_mode": "clamp", "raw": False}
        if model.material is None and model.roughness == 1 and model.metallic == 0:
            return {"type": "twosided", "surface": {"type": "diffuse", "reflectance": color}}
        surface = {
            "type": "principled",
            "base_color": color,
            "roughness": self._value(model, 1, max(model.roughness, 0.05)),
            "metallic": self._value(model, 2, model.metallic),
            "specular": _SPECULAR,
        }
        return {"type": "twosided", "surface": surface}

    def _value(self, model: Model, channel: int, value: float) -> Any:
        """Return a channel of a model's material as a texture, or the number without one."""
        if model.material is None:
            return value
        pixels = model.material[..., channel : channel + 1]
        bitmap = self._mitsuba.Bitmap(np.ascontiguousarray(pixels))
        return {"type": "bitmap", "bitmap": bitmap, "wrap_mode": "clamp", "raw": True}

    def _lamp(self, lamp: LampSection) -> dict[str, Any]:
        radiance = [lamp.strength * value for value in lamp.color]
        return {
            "type": "sphere",
            "center": list(lamp.position),
            "radius": lamp.radius,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance}},
        }


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, dtype=np.float32).ravel()


def _mitsuba() -> Any:
    check_mitsuba()
    mitsuba: Any = importlib.import_module("mitsuba")
    if mitsuba.variant() != _VARIANT:
        mitsuba.set_variant(_VARIANT)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)  # it says that it rounds sample counts
    return mitsuba
