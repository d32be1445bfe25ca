"""The schema of mesh.json: measurements of a field's lattice, surface and texture."""

from typing import NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class MeshFacts(TypedDict):
    """What `mesh.extract` and `mesh.clean` measure; lengths are in scene units.

    An imported mesh has no lattice of densities. `texture_box_projected` is there, and true, where
    unwrapping took too long.
    """

    grid_resolution: NotRequired[int]
    density_threshold: NotRequired[float]
    density_max: NotRequired[float]
    occupied_fraction: NotRequired[float]
    filled_cavity_fraction: NotRequired[float]
    vertices: int
    faces: int
    components: int
    dropped_components: int
    watertight: bool
    euler_number: int
    area: float
    volume: float
    texture_size_px: int
    texture_charts: int
    texture_box_projected: NotRequired[bool]
