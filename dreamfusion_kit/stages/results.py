"""What earlier stages wrote down about an asset or a suite, read back and checked."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import AssetEntry, CostRow, SuiteMetrics
from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.stages import files
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

TIMED_STAGES = ("optimize", "mesh")
_AGAIN = "run `dvc repro`"

SectionT = TypeVar("SectionT", bound=Section)


def asset_entry(own: AssetLayout, prompt: str) -> AssetEntry:
    """Return the asset's metrics.json.

    Raises:
        EvaluationError: where it is another asset's, of another prompt, or damaged.
    """
    path = own.evaluation / "metrics.json"
    entry = _read(path, AssetEntry, made_by="evaluate")
    if (entry.asset, entry.prompt) != (own.asset, prompt):
        raise EvaluationError(
            f"{path}: found the metrics of {entry.asset} ({entry.prompt!r}), expected those of "
            f"{own.asset} ({prompt!r}); {_AGAIN}"
        )
    return entry


def suite_metrics(layout: SuiteLayout) -> SuiteMetrics:
    """Return the suite's metrics/<suite>.json."""
    found = _read(layout.metrics, SuiteMetrics, made_by="score")
    if found.suite != layout.suite:
        raise EvaluationError(
            f"{layout.metrics}: found the metrics of the suite {found.suite}, expected those of "
            f"{layout.suite}; {_AGAIN}"
        )
    return found


def judged(metrics: SuiteMetrics) -> str:
    """Return by what the suite was judged, as a sentence."""
    judge, pool = metrics.judge, metrics.caption_pool
    if judge is None or pool is None:
        return "No judge is set (evaluation.clip): R-Precision and CLIP score are left out."
    if pool.size == 1:
        return (
            f"Judged by CLIP {judge.name}; a pool of one caption leaves nothing to choose from, so "
            "R-Precision is left out."
        )
    return f"Judged by CLIP {judge.name} over a pool of {pool.size} captions ({pool.kind})."


def cost_of(own: AssetLayout) -> CostRow | None:
    """Return the time from text features to mesh and the most memory; None where not known."""
    paths = [own.cost(stage) for stage in TIMED_STAGES]
    if not all(path.is_file() for path in paths):
        return None
    rows = [_read(path, CostRow, made_by=path.stem) for path in paths]
    return CostRow(
        seconds=round(sum(row.seconds for row in rows), 3),
        peak_memory_bytes=max(row.peak_memory_bytes for row in rows),
    )


def run_record(own: AssetLayout, stage: str) -> dict[str, Any] | None:
    """Return the record of how a stage ran; None where there is none."""
    path = own.run(stage)
    if not path.is_file():
        return None
    record: Any = files.read_json(path, made_by=stage)
    if not isinstance(record, dict):
        raise EvaluationError(
            f"{path}: found {type(record).__name__}, expected a mapping; {_AGAIN}"
        )
    return record


def _read(path: Path, model: type[SectionT], *, made_by: str) -> SectionT:
    data: Any = files.read_json(path, made_by=made_by)
    if isinstance(data, dict) and data.get("format_version") != 2 and model is not CostRow:
        raise EvaluationError(
            f"{path}: found format {data.get('format_version', 1)}, expected 2; an older version "
            f"wrote it: {_AGAIN}"
        )
    try:
        # As JSON, strict mode takes a list for a tuple.
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise EvaluationError(
            f"{path}: {key}: {first['msg']}, expected what the {made_by} stage writes; {_AGAIN}"
        ) from None
