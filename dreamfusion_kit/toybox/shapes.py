"""The objects of the toybox: signed-distance solids with parts and per-part colours.

Every object lies inside a ball of radius 0.85 around the origin, stands upright (+z) and
looks along +x. A part's colour is either a palette name or `MAIN`, the colour that the
caption names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.toybox import primitives as s
from dreamfusion_kit.toybox.primitives import Distances, Points

BOUNDING_RADIUS = 0.85

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.10, 0.10),
    "orange": (0.98, 0.52, 0.06),
    "yellow": (0.97, 0.87, 0.12),
    "green": (0.12, 0.62, 0.18),
    "cyan": (0.12, 0.80, 0.84),
    "blue": (0.12, 0.24, 0.85),
    "purple": (0.52, 0.14, 0.72),
    "pink": (0.98, 0.52, 0.74),
    "brown": (0.47, 0.28, 0.13),
}
"""Main colours that captions name, as albedo."""

MAIN = "main"
_ACCENTS: dict[str, tuple[float, float, float]] = {
    "white": (0.95, 0.95, 0.93),
    "cream": (0.93, 0.86, 0.70),
    "black": (0.07, 0.07, 0.08),
    "steel": (0.62, 0.64, 0.68),
    "dark": (0.24, 0.25, 0.28),
    "wood": (0.50, 0.33, 0.18),
    "amber": (1.00, 0.62, 0.10),
    "glass": (0.55, 0.78, 0.92),
    "light": (1.00, 0.95, 0.62),
}


@dataclass(frozen=True)
class Part:
    """One solid of an object and the name of its colour."""

    color: str
    distance: Callable[[Points], Distances]


@dataclass(frozen=True)
class Scene:
    """An object in a colour: what the renderer draws and geometry is measured against."""

    object_name: str
    color_name: str
    parts: tuple[Part, ...]

    def distances(self, points: Points) -> Distances:
        """Return a lower bound of the distance to the surface, negative inside."""
        return torch.stack([part.distance(points) for part in self.parts]).amin(dim=0)

    def nearest_part(self, points: Points) -> Int[Tensor, " samples"]:
        """Return the index of the part whose surface is nearest."""
        return torch.stack([part.distance(points) for part in self.parts]).argmin(dim=0)

    def sdf(self, points: Points) -> tuple[Distances, Float[Tensor, "samples 3"]]:
        """Return signed distances and the albedo of the nearest part."""
        palette = self.palette().to(points)
        return self.distances(points), palette[self.nearest_part(points)]

    def palette(self) -> Float[Tensor, "parts 3"]:
        """Return the albedo of each part."""
        names = [self.color_name if part.color == MAIN else part.color for part in self.parts]
        return torch.tensor([COLORS.get(name, _ACCENTS.get(name)) for name in names])


def scene(object_name: str, color_name: str) -> Scene:
    """Return the object in the main colour; unknown names raise EvaluationError."""
    if object_name not in _BUILDERS or color_name not in COLORS:
        raise EvaluationError(
            f"toybox: no {color_name} {object_name}; objects are {', '.join(OBJECTS)}; "
            f"colours are {', '.join(COLORS)}"
        )
    return Scene(object_name, color_name, _BUILDERS[object_name]())


def _ball() -> tuple[Part, ...]:
    return (Part(MAIN, lambda p: s.ball(p, 0.6)),)


def _cube() -> tuple[Part, ...]:
    return (Part(MAIN, lambda p: s.box(p, (0.43, 0.43, 0.43), 0.03)),)


def _cone() -> tuple[Part, ...]:
    return (Part(MAIN, lambda p: s.cone(s.moved(p, (0, 0, 0.02)), 0.46, 0.01, 0.58)),)


def _cylinder() -> tuple[Part, ...]:
    return (Part(MAIN, lambda p: s.cylinder(p, 0.36, 0.56)),)


def _donut() -> tuple[Part, ...]:
    return (
        Part(MAIN, lambda p: s.cut(s.torus(p, 0.46, 0.235), p[..., 2] - 0.01)),
        Part("cream", lambda p: s.torus(p, 0.46, 0.22)),
    )


def _chair() -> tuple[Part, ...]:
    def legs(p: Points) -> Distances:
        corner = torch.stack([p[..., 0].abs() - 0.30, p[..., 1].abs() - 0.30, p[..., 2]], dim=-1)
        return s.box(s.moved(corner, (0, 0, -0.40)), (0.055, 0.055, 0.27))

    return (
        Part(MAIN, lambda p: s.box(s.moved(p, (0, 0, -0.10)), (0.37, 0.37, 0.06), 0.02)),
        Part(MAIN, lambda p: s.box(s.moved(p, (-0.32, 0, 0.30)), (0.055, 0.37, 0.37), 0.02)),
        Part("wood", legs),
    )


def _table() -> tuple[Part, ...]:
    def legs(p: Points) -> Distances:
        corner = torch.stack([p[..., 0].abs() - 0.34, p[..., 1].abs() - 0.48, p[..., 2]], dim=-1)
        return s.box(s.moved(corner, (0, 0, -0.14)), (0.06, 0.06, 0.34))

    return (
        Part(MAIN, lambda p: s.box(s.moved(p, (0, 0, 0.24)), (0.44, 0.60, 0.07), 0.02)),
        Part("wood", legs),
    )


def _mug() -> tuple[Part, ...]:
    def cup(p: Points) -> Distances:
        shell = s.cylinder(s.moved(p, (0, -0.12, 0)), 0.38, 0.46)
        return s.cut(shell, s.cylinder(s.moved(p, (0, -0.12, 0.12)), 0.31, 0.46))

    def handle(p: Points) -> Distances:
        q = s.moved(p, (0, 0.30, 0))
        upright = torch.stack([q[..., 1], q[..., 2], q[..., 0]], dim=-1)
        ring = s.torus(upright, 0.22, 0.065)
        return torch.maximum(ring, 0.22 - p[..., 1])

    return (Part(MAIN, lambda p: s.union(cup(p), handle(p))),)


def _mushroom() -> tuple[Part, ...]:
    def cap(p: Points) -> Distances:
        dome = s.ellipsoid(s.moved(p, (0, 0, 0.08)), (0.58, 0.58, 0.50))
        return torch.maximum(dome, 0.08 - p[..., 2])

    def spots(p: Points) -> Distances:
        centers = (
            (0.42, 0.10, 0.38), (0.18, -0.40, 0.36), (-0.30, -0.30, 0.37),
            (-0.36, 0.28, 0.33), (0.10, 0.44, 0.32), (0.02, 0.0, 0.575),
        )  # fmt: skip
        return s.union(*(s.ball(s.moved(p, center), 0.12) for center in centers))

    return (
        Part(MAIN, cap),
        Part("white", spots),
        Part("cream", lambda p: s.cone(s.moved(p, (0, 0, -0.22)), 0.24, 0.18, 0.34)),
    )


def _robot() -> tuple[Part, ...]:
    def limbs(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        arm = s.box(s.moved(mirrored, (0.04, 0.43, 0.0)), (0.09, 0.08, 0.26), 0.02)
        leg = s.box(s.moved(mirrored, (0.0, 0.17, -0.52)), (0.13, 0.11, 0.20), 0.02)
        return s.union(arm, leg)

    def eyes(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        return s.ball(s.moved(mirrored, (0.21, 0.11, 0.50)), 0.075)

    return (
        Part(MAIN, lambda p: s.box(s.moved(p, (0, 0, -0.03)), (0.22, 0.34, 0.31), 0.03)),
        Part("steel", lambda p: s.box(s.moved(p, (0, 0, 0.47)), (0.21, 0.25, 0.17), 0.03)),
        Part("dark", limbs),
        Part("black", eyes),
        Part("light", lambda p: s.box(s.moved(p, (0.22, 0, 0.04)), (0.03, 0.17, 0.12))),
    )


def _house() -> tuple[Part, ...]:
    def windows(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        front = s.box(s.moved(mirrored, (0.42, 0.30, -0.12)), (0.02, 0.09, 0.09))
        side = s.box(s.moved(mirrored, (0.0, 0.52, -0.15)), (0.14, 0.02, 0.10))
        return s.union(front, side)

    return (
        Part("cream", lambda p: s.box(s.moved(p, (0, 0, -0.24)), (0.42, 0.52, 0.30))),
        Part(MAIN, lambda p: s.gable(s.moved(p, (0, 0, 0.29)), (0.53, 0.60, 0.23))),
        Part("wood", lambda p: s.box(s.moved(p, (0.42, 0, -0.34)), (0.025, 0.11, 0.20))),
        Part("glass", windows),
        Part("dark", lambda p: s.box(s.moved(p, (-0.25, 0.30, 0.40)), (0.07, 0.07, 0.20))),
    )


def _car() -> tuple[Part, ...]:
    def wheels(p: Points) -> Distances:
        q = torch.stack([p[..., 0].abs() - 0.42, p[..., 1].abs() - 0.31, p[..., 2] + 0.24], dim=-1)
        upright = torch.stack([q[..., 0], q[..., 2], q[..., 1]], dim=-1)
        return s.cylinder(upright, 0.17, 0.06)

    def lamps(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        return s.ball(s.moved(mirrored, (0.69, 0.20, -0.05)), 0.07)

    return (
        Part(MAIN, lambda p: s.box(s.moved(p, (0, 0, -0.08)), (0.70, 0.33, 0.15), 0.05)),
        Part("glass", lambda p: s.box(s.moved(p, (-0.10, 0, 0.16)), (0.34, 0.27, 0.13), 0.04)),
        Part(MAIN, lambda p: s.box(s.moved(p, (-0.10, 0, 0.29)), (0.34, 0.28, 0.04), 0.02)),
        Part("black", wheels),
        Part("light", lamps),
    )


def _rocket() -> tuple[Part, ...]:
    def fins(p: Points) -> Distances:
        along_x = s.box(s.moved(p, (0, 0, -0.48)), (0.44, 0.045, 0.20))
        along_y = s.box(s.moved(p, (0, 0, -0.48)), (0.045, 0.44, 0.20))
        reach = p[..., :2].norm(dim=-1) + 0.75 * (p[..., 2] + 0.28) - 0.30
        return torch.maximum(s.union(along_x, along_y), reach * 0.8)

    return (
        Part("white", lambda p: s.cylinder(s.moved(p, (0, 0, -0.14)), 0.235, 0.42)),
        Part(MAIN, lambda p: s.cone(s.moved(p, (0, 0, 0.51)), 0.235, 0.02, 0.25)),
        Part(MAIN, fins),
        Part("glass", lambda p: s.ball(s.moved(p, (0.17, 0, 0.06)), 0.12)),
        Part("dark", lambda p: s.cone(s.moved(p, (0, 0, -0.63)), 0.18, 0.13, 0.07)),
    )


def _tree() -> tuple[Part, ...]:
    def crown(p: Points) -> Distances:
        low = s.cone(s.moved(p, (0, 0, -0.14)), 0.50, 0.12, 0.24)
        middle = s.cone(s.moved(p, (0, 0, 0.16)), 0.40, 0.08, 0.22)
        top = s.cone(s.moved(p, (0, 0, 0.48)), 0.29, 0.01, 0.26)
        return s.union(low, middle, top)

    return (
        Part(MAIN, crown),
        Part("wood", lambda p: s.cylinder(s.moved(p, (0, 0, -0.52)), 0.12, 0.20)),
    )


def _snowman() -> tuple[Part, ...]:
    def coal(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        eyes = s.ball(s.moved(mirrored, (0.19, 0.08, 0.42)), 0.045)
        buttons = s.union(
            s.ball(s.moved(p, (0.29, 0, 0.10)), 0.05), s.ball(s.moved(p, (0.29, 0, -0.04)), 0.05)
        )
        return s.union(eyes, buttons)

    def hat(p: Points) -> Distances:
        brim = s.cylinder(s.moved(p, (0, 0, 0.54)), 0.27, 0.025)
        return s.union(brim, s.cylinder(s.moved(p, (0, 0, 0.65)), 0.17, 0.12))

    def body(p: Points) -> Distances:
        low, middle = (
            s.ball(s.moved(p, (0, 0, -0.38)), 0.40),
            s.ball(s.moved(p, (0, 0, 0.04)), 0.30),
        )
        return s.union(low, middle, s.ball(s.moved(p, (0, 0, 0.37)), 0.22))

    return (
        Part(MAIN, body),
        Part("black", hat),
        Part("black", coal),
        Part("amber", lambda p: s.capsule(p, (0.20, 0, 0.36), (0.40, 0, 0.34), 0.04)),
    )


def _duck() -> tuple[Part, ...]:
    def body(p: Points) -> Distances:
        trunk = s.ellipsoid(s.moved(p, (-0.06, 0, -0.20)), (0.52, 0.36, 0.32))
        tail = s.ellipsoid(s.turned_y(s.moved(p, (-0.50, 0, -0.06)), 35), (0.11, 0.14, 0.20))
        return s.union(trunk, tail, s.ball(s.moved(p, (0.26, 0, 0.27)), 0.27))

    def eyes(p: Points) -> Distances:
        mirrored = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=-1)
        return s.ball(s.moved(mirrored, (0.42, 0.17, 0.36)), 0.06)

    return (
        Part(MAIN, body),
        Part("amber", lambda p: s.ellipsoid(s.moved(p, (0.56, 0, 0.22)), (0.17, 0.16, 0.06))),
        Part("black", eyes),
    )


_BUILDERS: dict[str, Callable[[], tuple[Part, ...]]] = {
    "ball": _ball,
    "cube": _cube,
    "cone": _cone,
    "donut": _donut,
    "cylinder": _cylinder,
    "chair": _chair,
    "table": _table,
    "mug": _mug,
    "mushroom": _mushroom,
    "robot": _robot,
    "house": _house,
    "car": _car,
    "rocket": _rocket,
    "tree": _tree,
    "snowman": _snowman,
    "duck": _duck,
}

OBJECTS: tuple[str, ...] = tuple(_BUILDERS)
"""Names of the objects, in caption-pool order."""

DISTINCT_SIDES: frozenset[str] = frozenset(
    {"chair", "mug", "robot", "house", "car", "snowman", "duck"}
)
"""Objects that look different from front, side and back, with texture and without.

From the same elevation any two of these sides differ by at least 1 % of full scale, averaged
over the object's pixels. The table and the simple solids repeat themselves as they turn, the
rocket's side and back differ by a sliver of its window, and a mushroom has no front: its
spots are anywhere.
"""
