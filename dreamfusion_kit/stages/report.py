"""Stage report: one page that shows the suite."""

from pathlib import Path
from typing import Any

from dreamfusion_kit import files
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.provenance import Provenance
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.suite import caveat, load_suite, resolve
from dreamfusion_kit.report.content import AssetReport, Curve, Preview, SuiteReport, View
from dreamfusion_kit.report.gallery import write_gallery
from dreamfusion_kit.stages.layout import VIEW_KINDS, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import TIMED_STAGES, asset_entry, cost_of

_DOWNLOADS = ("mesh.glb", "mesh.obj", "mesh.mtl", "albedo.png", "mesh.ply")
_MAX_PREVIEWS = 10


def run(workspace: Path, suite: str) -> Path:
    """Write the suite's gallery."""
    loaded = load_suite(workspace, suite)
    layout = SuiteLayout(workspace, suite)
    report = SuiteReport(
        name=suite,
        metrics=files.read_json(layout.metrics, dict[str, Any], made_by="score"),
        assets=tuple(
            _asset(workspace, layout, asset, loaded.evaluation) for asset in loaded.assets
        ),
    )
    with files.new_directory(layout.report) as directory:
        write_gallery(report, directory)
    return layout.report / "index.html"


def _asset(
    workspace: Path, layout: SuiteLayout, asset: str, evaluation: EvaluationSection
) -> AssetReport:
    resolved = resolve(workspace, layout.suite, asset)
    own = layout.asset(asset)
    mesh_facts = files.read_json(own.mesh / "mesh.json", MeshFacts, made_by="mesh")
    return AssetReport(
        id=asset,
        prompt=resolved.prompt,
        seed=resolved.seed,
        identity=resolved.identity,
        recipe_name=resolved.recipe_name,
        recipe_yaml=yaml_text.dump(resolved.recipe.model_dump(mode="json")),
        glb=own.mesh / "mesh.glb",
        metrics={**asset_entry(own), "mesh": mesh_facts},
        provenance={
            stage: files.read_json(own.run(stage), Provenance, made_by=stage)
            for stage in TIMED_STAGES
        },
        seconds=cost_of(own).seconds,
        turntable=own.evaluation / "turntable.webp",
        views=_views(own),
        previews=_previews(own),
        curves=tuple(
            Curve(path.stem, path) for path in sorted((own.field / "live").rglob("*.tsv"))
        ),
        downloads=tuple(own.mesh / name for name in _DOWNLOADS),
        caveat=caveat(resolved.recipe, evaluation),
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


def _previews(own: AssetLayout) -> tuple[Preview, ...]:
    """Return at most ten previews, evenly spread, the last among them."""
    paths = sorted((own.field / "previews").glob("step_*.png"))
    stride = -(-len(paths) // _MAX_PREVIEWS)
    chosen = paths[::-1][:: max(1, stride)][::-1]
    return tuple(Preview(int(path.stem.removeprefix("step_")), path) for path in chosen)
