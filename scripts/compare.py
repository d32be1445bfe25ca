"""Compare the methods of a scored suite: one row per recipe and overrides.

Numbers are means over the first seed of each prompt; diversity is over all seeds. They come
from metrics/<suite>.json and .cost.json, so no outputs are needed.

python scripts/compare.py guidance table             print the Markdown table
python scripts/compare.py guidance picture OUT.png   one row per method, assets from two sides
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from contact_sheet import save_sheet, strip

from dreamfusion_kit.evaluation.entry import Numbers, SuiteCost
from dreamfusion_kit.evaluation.metric import Metric, Unit
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.recipe.suite_schema import Asset
from dreamfusion_kit.report.measures import written
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import suite_metrics

VIEWS = (0, 2)  # the front and a side, among the protocol's azimuths
_COSTS: dict[str, Unit] = {"time": "seconds", "memory": "memory"}  # headings, with their units


def main(*arguments: str) -> None:
    """Run one of the two commands."""
    match arguments:
        case (suite,) | (suite, "table"):
            print("\n".join(table(suite)))
        case (suite, "picture", target):
            picture(suite, Path(target))
        case _:
            raise SystemExit(__doc__)


def table(name: str) -> list[str]:
    """Return the Markdown lines: one row per method in the suite's order, then the truth."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    rows = suite_metrics(layout).assets
    if rows.keys() != suite.assets.keys():
        raise SystemExit(f"{layout.metrics}: not the suite's assets; run `dvc repro`")
    numbers = {asset: row.metrics for asset, row in rows.items()}
    shown = [metric for metric in METRICS if "comparison" in metric.places]
    headings = [*(metric.heading for metric in shown), *_COSTS]
    lines = [f"| method | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    for method, assets in methods(suite).items():
        firsts = list({suite.assets[one].prompt: one for one in reversed(assets)}.values())
        cells = [
            _cell(numbers, assets if metric.among_seeds else firsts, metric) for metric in shown
        ]
        lines.append(f"| {method} | {' | '.join([*cells, *_costs(layout, firsts)])} |")
    return [*lines, f"| true shapes | {' | '.join(_truth(suite, numbers, shown))} |"]


def methods(suite: Suite) -> dict[str, list[str]]:
    """Return the suite's assets by method: a recipe, and what is overridden in it."""
    variants: dict[str, set[str]] = {}
    for asset in suite.assets.values():
        variants.setdefault(asset.recipe, set()).add(_method(asset))
    grouped: dict[str, list[str]] = {}
    for name, asset in suite.assets.items():
        # Overrides shared by all assets of a recipe are in the suite's file, and not compared.
        is_alone = len(variants[asset.recipe]) == 1
        grouped.setdefault(asset.recipe if is_alone else _method(asset), []).append(name)
    return grouped


def _cell(numbers: Mapping[str, Numbers], assets: Sequence[str], metric: Metric) -> str:
    return written(_mean(numbers, assets, metric.key), metric.unit)


def _mean(numbers: Mapping[str, Numbers], assets: Sequence[str], key: str) -> float | None:
    found = [numbers[asset].get(key) for asset in assets]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def _costs(layout: SuiteLayout, assets: Sequence[str]) -> list[str]:
    """Return the mean time and the highest memory; dashes where the suite has not noted them."""
    if not layout.cost.is_file():
        return [written(None, unit) for unit in _COSTS.values()]
    noted = SuiteCost.model_validate_json(layout.cost.read_bytes()).assets
    costs = [noted[asset] for asset in assets if asset in noted]
    seconds = fmean(cost.seconds for cost in costs) if costs else None
    memory = float(max(cost.peak_memory_bytes for cost in costs)) if costs else None
    return [written(seconds, "seconds"), written(memory, "memory")]


def _truth(suite: Suite, numbers: Mapping[str, Numbers], shown: Sequence[Metric]) -> list[str]:
    """Return what true renders of the suite's objects give, each object once."""
    once = list({asset.prompt: name for name, asset in suite.assets.items()}.values())
    cells = [
        written(
            None if metric.reference is None else _mean(numbers, once, metric.reference),
            metric.unit,
        )
        for metric in shown
    ]
    return [*cells, *(written(None, unit) for unit in _COSTS.values())]


def picture(name: str, target: Path) -> None:
    """Draw each method's meshes from two sides, in colour and in plaster, with its name."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    rows = [
        strip([view for one in assets for view in _pictures(layout.asset(one))], method)
        for method, assets in methods(suite).items()
    ]
    save_sheet(rows, target)


def _pictures(own: AssetLayout) -> list[Path]:
    folder = own.evaluation / "views"
    return [folder / view_name(kind, view) for kind in ("color", "textureless") for view in VIEWS]


def _method(asset: Asset) -> str:
    changes = [f"{key}: {json.dumps(value)}" for key, value in asset.overrides.items()]
    return ", ".join([asset.recipe, *changes])


if __name__ == "__main__":
    main(*sys.argv[1:])
