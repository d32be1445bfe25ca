"""A metric as a record: its name, how it is measured and summarised, and its meaning."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dreamfusion_kit.evaluation.subject import Number, Subject

Unit = Literal["share", "score", "distance", "angle", "count", "flag"]
Better = Literal["higher", "lower", "neither"]
Place = Literal["headline", "card", "terminal", "comparison"]


@dataclass(frozen=True)
class Metric:
    """One number per asset, and its mean over a suite.

    Exactly one of `measure` and `among_seeds` is set. `reference` and `chance` are the keys
    of the metrics that true renders and guessing reach.
    """

    key: str
    """Its dotted place in a suite's summary; its name in an asset's metrics."""
    label: str
    unit: Unit
    better: Better
    meaning: str
    measure: Callable[[Subject], Number] | None = None
    """Measures a finished asset; flags are 1 and 0. None where it has no meaning."""
    among_seeds: Callable[[Tensor, list[Tensor]], float] | None = None
    """Measures the judge's features of an asset's colour views, `views features`, against those
    of assets that differ from it in nothing but the seed."""
    total: Callable[[Sequence[float]], float] = statistics.fmean
    """Sums the assets' numbers up."""
    has_interval: bool = False
    """Whether the suite's mean, a share, comes with a confidence interval."""
    short: str = ""
    """A label for narrow columns; the label itself by default."""
    places: frozenset[Place] = frozenset()
    """Where it is shown beside the full tables."""
    reference: str | None = None
    chance: str | None = None
    by_judge: bool = False
    """Whether every judge gives a value of its own."""

    def __post_init__(self) -> None:
        """Refuse a record with no way of being measured, or with two."""
        if (self.measure is None) == (self.among_seeds is None):
            raise ValueError(f"metric {self.key}: expected one of measure and among_seeds")

    @property
    def column(self) -> str:
        """Return its column in a suite's CSV."""
        return self.key.replace(".", "_")

    @property
    def heading(self) -> str:
        """Return the label for narrow columns."""
        return self.short or self.label
