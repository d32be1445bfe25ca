"""What an asset took, as rows of the tables: never part of its metrics."""

from collections.abc import Sequence

from dreamfusion_kit.evaluation.entry import CostRow
from dreamfusion_kit.report.content import Measure

COSTS = (
    Measure(
        key="seconds_per_asset",
        label="Seconds per asset",
        short="Time",
        unit="seconds",
        meaning="Wall-clock time from prompt to mesh, on the machine named with each asset.",
        is_headline=True,
        is_on_card=True,
    ),
    Measure(
        key="peak_memory_bytes",
        label="Peak memory",
        short="memory",
        unit="memory",
        meaning="The most that any process held: on a CPU with its libraries, on a GPU tensors.",
    ),
)


def cost_numbers(cost: CostRow) -> dict[str, float | None]:
    """Return one asset's cost by the keys of `COSTS`."""
    return {
        "seconds_per_asset": cost.seconds,
        "peak_memory_bytes": float(cost.peak_memory_bytes),
    }


def cost_summary(costs: Sequence[CostRow]) -> dict[str, float]:
    """Return mean time and highest memory by the keys of `COSTS`; empty where none is known."""
    if not costs:
        return {}
    return {
        "seconds_per_asset": sum(cost.seconds for cost in costs) / len(costs),
        "peak_memory_bytes": float(max(cost.peak_memory_bytes for cost in costs)),
    }
