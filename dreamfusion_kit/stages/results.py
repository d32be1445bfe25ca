"""What earlier stages wrote down about an asset, read back."""

from typing import Any

from dreamfusion_kit.stages import files
from dreamfusion_kit.stages.layout import AssetLayout

TIMED_STAGES = ("optimize", "mesh")


def asset_entry(own: AssetLayout) -> Any:
    """Return the asset's metrics.json."""
    return files.read_json(own.evaluation / "metrics.json", made_by="evaluate")


def seconds_of(own: AssetLayout) -> float:
    """Return the time from text features to mesh."""
    records = [files.read_json(own.run(stage), made_by=stage) for stage in TIMED_STAGES]
    return float(sum(record["seconds"] for record in records))
