"""DMTet: signed distances at a lattice, by marching tetrahedra (arXiv 2111.04276)."""

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.distance_grid import DistanceGrid
from dreamfusion_kit.shape.tetrahedra import marching_tetrahedra


class Dmtet(DistanceGrid):
    """A surface with vertices on the edges of tetrahedra."""

    def surface(self) -> Surface:
        """Return the zero level, by marching tetrahedra."""
        return marching_tetrahedra(self.distances(), self.points())
