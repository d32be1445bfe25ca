"""Stage report: one page that shows the suite."""

from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import metrics_of
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.resolved import ResolvedAsset, caveat, resolve_all
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.report.content import AssetReport, Curve, Measure, Preview, SuiteReport, View
from dreamfusion_kit.report.gallery import write_gallery
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.inputs import mesh_facts, mesh_hash
from dreamfusion_kit.stages.layout import VIEW_KINDS, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import (
    asset_entry,
    judged,
    run_record,
    run_warnings,
    suite_metrics,
    timed_stages,
)

_NOT_FOR_DOWNLOAD = ("mesh.json", origin.NAME)
_MAX_PREVIEWS = 10


def run(workspace: Path, suite: str) -> Path:
    """Write the suite's gallery."""
    loaded = load_suite(workspace, suite)
    layout = SuiteLayout(workspace, suite)
    metrics = suite_metrics(layout)
    resolved = resolve_all(workspace, loaded)
    assets = tuple(
        _asset(layout.asset(asset), resolved[asset], loaded.evaluation) for asset in loaded.assets
    )
    report = SuiteReport(
        name=suite,
        judged=judged(metrics),
        summary=metrics.summary,
        measures=tuple(map(_measure, metrics_of(loaded.evaluation))),
        assets=assets,
    )
    with files.new_directory(layout.report) as directory:
        write_gallery(report, directory)
    return layout.report / "index.html"


def _measure(metric: Metric) -> Measure:
    return Measure(
        key=metric.key,
        label=metric.label,
        short=metric.heading,
        unit=metric.unit,
        meaning=metric.meaning,
        is_headline="headline" in metric.places,
        is_on_card="card" in metric.places,
        chance=metric.chance,
        reference=metric.reference,
    )


def _asset(own: AssetLayout, resolved: ResolvedAsset, evaluation: EvaluationSection) -> AssetReport:
    origin.check_final_mesh(own, resolved)
    final = own.final_mesh(resolved)
    entry = asset_entry(own, resolved.prompt)
    if entry.inputs.mesh_sha256 != mesh_hash(own, resolved):
        raise EvaluationError(
            f"{own.evaluation / 'metrics.json'}: found the metrics of another mesh than that in "
            f"{final}, expected those of this one; run `dvc repro`"
        )
    records = {stage: run_record(own, stage) for stage in timed_stages(resolved)}
    return AssetReport(
        id=own.asset,
        prompt=resolved.prompt,
        seed=resolved.seed,
        identity=resolved.identity,
        recipe_name=resolved.recipe_name,
        recipe_yaml=yaml_text.dump(resolved.recipe.model_dump(mode="json")),
        glb=final / "mesh.glb",
        held_out=entry.held_out,
        numbers=entry.metrics,
        details={**entry.model_dump(mode="json"), "mesh": mesh_facts(own, resolved)},
        provenance={stage: record for stage, record in records.items() if record is not None},
        turntable=own.evaluation / "turntable.webp",
        views=_views(own),
        previews=_previews(own.refined if resolved.refines else own.field),
        curves=_curves(own, resolved),
        warnings=() if resolved.imported is not None else run_warnings(own),
        downloads=tuple(
            path
            for path in sorted(final.iterdir())
            if path.is_file() and path.name not in _NOT_FOR_DOWNLOAD
        ),
        caveat=caveat(resolved, evaluation),
        imported=None if resolved.imported is None else resolved.imported.file,
    )


def _views(own: AssetLayout) -> tuple[View, ...]:
    directory = own.evaluation / "views"
    count = len(list(directory.glob("color_*.png")))
    return tuple(
        View(
            360.0 * index / count,
            *(directory / view_name(kind, index) for kind in VIEW_KINDS),
        )
        for index in range(count)
    )


def _curves(own: AssetLayout, resolved: ResolvedAsset) -> tuple[Curve, ...]:
    """Return the curves of the field's optimisation, then those of the mesh's."""
    optimised = {"": own.field} | ({"refine_": own.refined} if resolved.refines else {})
    return tuple(
        Curve(f"{prefix}{path.stem}", path)
        for prefix, folder in optimised.items()
        for path in sorted((folder / "live").rglob("*.tsv"))
    )


def _previews(optimised: Path) -> tuple[Preview, ...]:
    """Return at most ten previews, evenly spread, the last among them."""
    paths = sorted((optimised / "previews").glob("step_*.png"))
    stride = -(-len(paths) // _MAX_PREVIEWS)
    chosen = paths[::-1][:: max(1, stride)][::-1]
    return tuple(Preview(int(path.stem.removeprefix("step_")), path) for path in chosen)
