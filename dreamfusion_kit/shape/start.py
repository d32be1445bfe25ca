"""What a refinement starts from."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Surface

DistanceFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, " samples"]]
ColorFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples 3"]]


@dataclass(frozen=True)
class Start:
    """A coarse surface on the CPU, and functions of positions around it.

    `distances` are signed, negative inside, scene units. `colors` are the albedo of the nearest
    point of the surface, in [0, 1].
    """

    surface: Surface
    distances: DistanceFunction
    colors: ColorFunction
    bounding_radius: float
