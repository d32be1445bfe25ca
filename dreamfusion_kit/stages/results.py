"""What earlier stages wrote down about an asset or a suite, read back and checked."""

from dreamfusion_kit import files
from dreamfusion_kit.errors import EvaluationError, shortened
from dreamfusion_kit.evaluation.entry import AssetEntry, CostRow, SuiteMetrics
from dreamfusion_kit.provenance import Provenance, StageCost
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

_AGAIN = "run `dvc repro`"
_MAX_SHOWN_CHARACTERS = 60


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
    """Return a sentence that names the suite's judge."""
    judge, pool = metrics.judge, metrics.caption_pool
    if judge is None or pool is None:
        return "No judge is set (evaluation.clip): R-Precision and CLIP score are left out."
    if pool.size == 1:
        return (
            f"Judged by CLIP {judge.name}; a pool of one caption leaves nothing to choose from, so "
            "R-Precision is left out."
        )
    return f"Judged by CLIP {judge.name} over a pool of {pool.size} captions ({pool.kind})."


def timed_stages(recipe: Recipe) -> tuple[str, ...]:
    """Return the stages that make an asset of `recipe`, whose time and memory are recorded."""
    return ("optimize", "mesh") if recipe.refine is None else ("optimize", "mesh", "refine")


def cost_of(own: AssetLayout, recipe: Recipe) -> CostRow | None:
    """Return the time from text features to mesh and the peak memory; None if unknown."""
    paths = [own.cost(stage) for stage in timed_stages(recipe)]
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
