"""Stage score: the suite's summary and its table of assets."""

import csv
import io
from pathlib import Path
from typing import Any

from dreamfusion_kit import files
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.summary import asset_row, summarize
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.results import asset_entry, cost_of
from dreamfusion_kit.toybox.captions import caption_pool


def run(workspace: Path, suite: str) -> Path:
    """Write metrics/<suite>.json and the suite's CSV."""
    loaded = load_suite(workspace, suite)
    layout = SuiteLayout(workspace, suite)
    entries = [asset_entry(layout.asset(asset)) for asset in loaded.assets]
    costs = {asset: cost_of(layout.asset(asset)) for asset in loaded.assets}
    summary = summarize(
        entries,
        costs=costs,
        clip=loaded.evaluation.clip.name,
        pool=CaptionPool(caption_pool()),
        confidence_level=loaded.evaluation.confidence_level,
    )
    rows = [asset_row(entry, costs[entry["asset"]]) for entry in entries]
    files.write_text(layout.table, _csv(rows))
    files.write_json(layout.metrics, summary)
    return layout.metrics


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
