"""Look for faults of score distillation in the assets of scored suites.

python scripts/faults.py SUITE [SUITE ...]     print a Markdown table, a row per suite

Shows each metric that should be low, and each flag that should hold, as the mean over the
suite's assets and the worst one. The gallery explains what the metrics mean.
"""

import sys
from pathlib import Path
from statistics import fmean

from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.report.measures import written
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.results import suite_metrics

FAULTS = tuple(metric for metric in METRICS if metric.better == "lower" or metric.unit == "flag")


def main(*suites: str) -> None:
    """Print the table."""
    if not suites:
        raise SystemExit(__doc__)
    headings = [heading for metric in FAULTS for heading in (metric.label, "worst")]
    print(f"| suite | {' | '.join(headings)} |\n|---|" + "---:|" * len(headings))
    for suite in suites:
        assets = suite_metrics(SuiteLayout(Path(), suite)).assets.values()
        numbers = [asset.metrics for asset in assets]
        cells = [
            cell
            for metric in FAULTS
            for cell in _cells(metric, [one.get(metric.key) for one in numbers])
        ]
        print(f"| {suite} | {' | '.join(cells)} |")


def _cells(metric: Metric, values: list[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    if not known:
        return written(None, metric.unit), written(None, metric.unit)
    worst = max(known) if metric.better == "lower" else min(known)
    return written(fmean(known), metric.unit), written(worst, metric.unit)


if __name__ == "__main__":
    main(*sys.argv[1:])
