"""How many numbers a hash grid and its MLP hold."""

import math
from typing import Protocol


class HashTables(Protocol):
    """The sizes of a hash grid and of the MLP that reads it."""

    @property
    def num_levels(self) -> int:
        """Return the number of levels."""
        ...

    @property
    def features_per_level(self) -> int:
        """Return the features per level."""
        ...

    @property
    def log2_table_size(self) -> int:
        """Return log2 of a table's entries."""
        ...

    @property
    def min_resolution(self) -> int:
        """Return the coarsest level's cells per axis."""
        ...

    @property
    def max_resolution(self) -> int:
        """Return the finest level's cells per axis."""
        ...

    @property
    def hidden_width(self) -> int:
        """Return the units of a hidden layer."""
        ...

    @property
    def num_hidden_layers(self) -> int:
        """Return the number of hidden layers."""
        ...


def hash_grid_parameters(sizes: HashTables) -> int:
    """Return the approximate parameter count of all tables and of the MLP."""
    num_features = sizes.num_levels * sizes.features_per_level
    width = sizes.hidden_width if sizes.num_hidden_layers else 4
    hidden = max(0, sizes.num_hidden_layers - 1) * width**2
    tables = round(_rows_per_level(sizes) * num_features)
    return tables + (num_features + 4) * width + hidden


def _rows_per_level(sizes: HashTables) -> float:
    """Return the mean over the levels, of which 64 stand for more (see `field.levels`)."""
    num_levels, growth = min(sizes.num_levels, 64), sizes.max_resolution / sizes.min_resolution
    sides = (
        sizes.min_resolution * growth ** (level / max(num_levels - 1, 1))
        for level in range(num_levels)
    )
    most = 2**sizes.log2_table_size
    return sum(min(math.ceil(side) ** 3, most) for side in sides) / num_levels
