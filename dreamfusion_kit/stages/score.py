"""Stage score: the suite's metrics and its table of assets."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dreamfusion_kit import files
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import AssetEntry, Numbers
from dreamfusion_kit.evaluation.metrics import METRICS, metrics_of
from dreamfusion_kit.evaluation.summary import (
    Measured,
    dumped,
    suite_cost,
    suite_metrics,
    table_row,
)
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve_all
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.stages import judging
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.stages.results import asset_entry, cost_of, run_record, short, timed_stages


def run(workspace: Path, suite: str) -> Path:
    """Write metrics/<suite>.json, the suite's CSV, and the suite's cost if it is known."""
    loaded = load_suite(workspace, suite)
    layout = SuiteLayout(workspace, suite)
    resolved = resolve_all(workspace, loaded)
    measured = _measured(loaded, layout, resolved)
    metrics = metrics_of(loaded.evaluation)
    found = suite_metrics(
        suite,
        measured,
        confidence_level=loaded.evaluation.confidence_level,
        code={stage: code_digest(stage) for stage in _scored_code(resolved)},
        machine=_machine(layout, resolved),
        metrics=metrics,
    )
    files.write_text(layout.table, _csv([table_row(one, metrics) for one in measured]))
    files.write_text(layout.metrics, dumped(found))
    costs = {name: cost_of(layout.asset(name), asset) for name, asset in resolved.items()}
    known = {asset: cost for asset, cost in costs.items() if cost is not None}
    if known:  # otherwise the record of an earlier run stays
        files.write_text(layout.cost, dumped(suite_cost(suite, known)))
    return layout.metrics


def _scored_code(resolved: Mapping[str, ResolvedAsset]) -> tuple[CodeName, ...]:
    """Return the stages whose code made what is scored."""
    refined = any(asset.refines for asset in resolved.values())
    return (
        ("optimize", "mesh", "refine", "evaluate") if refined else ("optimize", "mesh", "evaluate")
    )


def _measured(
    suite: Suite, layout: SuiteLayout, resolved: Mapping[str, ResolvedAsset]
) -> list[Measured]:
    expected = judging.entries_of(suite, layout.workspace)
    entries = {
        asset: asset_entry(layout.asset(asset), declared.prompt)
        for asset, declared in suite.assets.items()
    }
    for asset, entry in entries.items():
        if _judged_by(entry) != expected:
            raise EvaluationError(
                f"{layout.asset(asset).evaluation / 'metrics.json'}: found metrics by another "
                "judge or pool of captions than evaluation names, expected the same for all "
                "assets; run `dvc repro`"
            )
    among_seeds = _among_seeds(suite, layout, entries)
    return [
        Measured(
            entry=entry,
            numbers={**entry.metrics, **among_seeds[asset]},
            recipe=suite.assets[asset].recipe,
            identity=resolved[asset].identity,
            seed=suite.assets[asset].seed,
        )
        for asset, entry in entries.items()
    ]


def _judged_by(entry: AssetEntry) -> judging.Entries:
    return judging.Entries(
        judge=entry.judge,
        other_judges={name: verdict.judge for name, verdict in entry.other_judges.items()},
        vqa=entry.vqa,
        pool=entry.caption_pool,
    )


# ---- what differs among the seeds of a prompt


def _among_seeds(
    suite: Suite, layout: SuiteLayout, entries: Mapping[str, AssetEntry]
) -> dict[str, Numbers]:
    """Return, for each asset, the metrics that compare it with its other seeds."""
    groups: dict[str, list[str]] = {}
    for name, asset in suite.assets.items():
        key = json.dumps([asset.prompt, asset.recipe, asset.overrides], sort_keys=True)
        groups.setdefault(key, []).append(name)
    found: dict[str, Numbers] = {}
    for group in groups.values():
        is_comparable = len(group) > 1 and all(entries[name].judge for name in group)
        features = {name: _features(layout.asset(name)) for name in group if is_comparable}
        for name in group:
            others = [features[other] for other in features if other != name]
            found[name] = {
                metric.key: metric.among_seeds(features[name], others) if others else None
                for metric in METRICS
                if metric.among_seeds is not None
            }
    return found


def _features(own: AssetLayout) -> Tensor:
    path = own.evaluation / "features.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            asset = (file.metadata() or {}).get("asset")
            if asset != own.asset:
                raise EvaluationError(
                    f"{path}: found the features of {short(asset)}, expected those of "
                    f"{own.asset!r}; run `dvc repro`"
                )
            return file.get_tensor("color")
    except (OSError, SafetensorError) as error:
        raise EvaluationError(
            f"{path}: cannot be read ({error}), expected what the evaluate stage writes; "
            "run `dvc repro`"
        ) from error


# ---- where it was made


def _machine(
    layout: SuiteLayout, resolved: Mapping[str, ResolvedAsset]
) -> Mapping[str, Any] | None:
    """Return the machine of all assets' stages; None if it is unknown or not the same for all."""
    records = [
        run_record(layout.asset(name), stage)
        for name, asset in resolved.items()
        for stage in timed_stages(asset)
    ]
    machines = [None if record is None else dict(record["machine"]) for record in records]
    first = next(iter(machines), None)  # without assets there is none
    return first if all(machine == first for machine in machines) else None


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
