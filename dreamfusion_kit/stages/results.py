"""What earlier stages wrote down about an asset or a suite, read back and checked."""

from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import EvaluationError, shortened
from dreamfusion_kit.evaluation.entry import AssetEntry, CostRow, SuiteMetrics
from dreamfusion_kit.provenance import Provenance, StageCost
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

_AGAIN = "run `dvc repro`"
_MAX_SHOWN_CHARACTERS = 60


class _Warnings(TypedDict):
    """What the optimisation warned of, one line each."""

    warnings: list[str]


def run_warnings(own: AssetLayout) -> tuple[str, ...]:
    """Return what the optimisation of the asset's field warned of.

    Raises:
        DreamFusionKitError: if the file is damaged.
    """
    path = own.field / "live" / "warnings.json"
    return tuple(files.read_json(path, _Warnings, made_by="optimize")["warnings"])


def timed_stages(asset: ResolvedAsset) -> tuple[str, ...]:
    """Return the stages whose time and machine are recorded."""
    made = ("mesh",) if asset.imported is not None else ("optimize", "mesh")
    return (*made, "refine") if asset.refines else made


def asset_entry(own: AssetLayout, prompt: str) -> AssetEntry:
    """Return the asset's metrics.json.

    Raises:
        DreamFusionKitError: if it is for another asset or prompt, or damaged.
    """
    path = own.evaluation / "metrics.json"
    entry = files.read_json(path, AssetEntry, made_by="evaluate")
    if (entry.asset, entry.prompt) != (own.asset, prompt):
        raise EvaluationError(
            f"{path}: found the metrics of {short(entry.asset)} ({short(entry.prompt)}), expected "
            f"those of {short(own.asset)} ({short(prompt)}); {_AGAIN}"
        )
    return entry


def suite_metrics(layout: SuiteLayout) -> SuiteMetrics:
    """Return the suite's metrics/SUITE.json."""
    found = files.read_json(layout.metrics, SuiteMetrics, made_by="score")
    if found.suite != layout.suite:
        raise EvaluationError(
            f"{layout.metrics}: found the metrics of the suite {short(found.suite)}, expected "
            f"those of {layout.suite!r}; {_AGAIN}"
        )
    return found


def judged(metrics: SuiteMetrics) -> str:
    """Return a sentence that names the suite's judges."""
    judge, pool = metrics.judge, metrics.caption_pool
    if judge is None or pool is None:
        return "No judge is set (evaluation.clip): R-Precision and CLIP score are left out."
    others = [f"{entry.name} ({name})" for name, entry in metrics.other_judges.items()]
    judges = ", ".join([judge.name, *others])
    if pool.size == 1:
        return (
            f"Judged by CLIP {judges}; a pool of one caption leaves nothing to choose from, so "
            "R-Precision is left out."
        )
    return f"Judged by CLIP {judges} over a pool of {pool.size} captions ({pool.kind})."


def cost_of(own: AssetLayout, resolved: ResolvedAsset) -> CostRow | None:
    """Return the time from text features, or a file, to mesh and the peak memory, if known."""
    paths = [own.cost(stage) for stage in timed_stages(resolved)]
    if not all(path.is_file() for path in paths):
        return None
    costs = [files.read_json(path, StageCost, made_by=path.stem) for path in paths]
    return CostRow(
        seconds=round(sum(cost["seconds"] for cost in costs), 3),
        peak_memory_bytes=max(cost["peak_memory_bytes"] for cost in costs),
    )


def run_record(own: AssetLayout, stage: str) -> Provenance | None:
    """Return the record of what a stage ran on, or None."""
    path = own.run(stage)
    return files.read_json(path, Provenance, made_by=stage) if path.is_file() else None


def short(value: object) -> str:
    """Return a file's value, quoted, for use in a one-line message."""
    return shortened(ascii(value), _MAX_SHOWN_CHARACTERS)
