"""What earlier stages wrote down about an asset, read back."""

from typing import Any

from dreamfusion_kit import files
from dreamfusion_kit.provenance import Cost, StageCost
from dreamfusion_kit.stages.layout import AssetLayout

TIMED_STAGES = ("optimize", "mesh")


def asset_entry(own: AssetLayout) -> Any:
    """Return the asset's metrics.json."""
    return files.read_json(own.evaluation / "metrics.json", dict[str, Any], made_by="evaluate")


def cost_of(own: AssetLayout) -> Cost:
    """Return the time from text features to mesh, and the memory of the stage that held most."""
    records = [files.read_json(own.cost(stage), StageCost, made_by=stage) for stage in TIMED_STAGES]
    return Cost(
        seconds=float(sum(record["seconds"] for record in records)),
        peak_memory_bytes=max(record["peak_memory_bytes"] for record in records),
    )
