"""One self-contained page, index.html: it opens from a file, offline, anywhere.

Pictures and meshes are embedded as base64, since a page from `file://` may fetch nothing;
its content security policy forbids network requests. Only the downloads lie beside it.
Equal input gives equal bytes: no clock, no path, no random name.
"""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from dreamfusion_kit.environment import LIGHT_NAMES, environment, hdr_bytes
from dreamfusion_kit.report import curves, measures, page, plots
from dreamfusion_kit.report.content import AssetReport, Json, Measure, SuiteReport, Unit


class Headline(NamedTuple):
    """A number at the top of the page; `gauge` is set if it is a share to compare."""

    label: str
    value: str
    note: str
    gauge: Markup | None


class SummaryRow(NamedTuple):
    """A measure of the suite, written for each of its groups of assets."""

    key: str
    label: str
    meaning: str
    values: tuple[str, ...]


def write_gallery(report: SuiteReport, directory: Path) -> Path:
    """Write index.html and the downloads, `<asset>/<name>`, into `directory`; return the page."""
    directory.mkdir(parents=True, exist_ok=True)
    for asset in report.assets:
        (directory / asset.id).mkdir(exist_ok=True)
        for source in asset.downloads:
            shutil.copyfile(source, directory / asset.id / source.name)
    written = directory / "index.html"
    written.write_bytes(render_page(report).encode())
    return written


def render_page(report: SuiteReport) -> str:
    """Return the page's HTML, with every file that the report names embedded."""
    scripts = [page.script(page.VIEWER), page.script(page.TEMPLATES / "viewer.js")]
    known = [measure for measure in report.measures if _is_known(report, measure)]
    made = [asset for asset in report.assets if asset.imported is None]
    return page.template("index.html.j2").render(
        report=report,
        policy=page.policy(scripts),
        style=page.style(page.TEMPLATES / "style.css"),
        scripts=scripts,
        recipes=list(dict.fromkeys(asset.recipe_name for asset in made)),
        num_made=len(made),
        headlines=[_headline(report.summary, measure) for measure in known if measure.is_headline],
        group_names=[name for name, _ in measures.groups(report.summary)],
        summary=_summary(report.summary, known),
        measures=known,
        measure_rows=_measure_rows(known),
        curve_label=curves.label,
        ordered=curves.ordered,
        lights=_lights(),
        base64=page.base64_of,
        chart=_chart,
        data_uri=page.data_uri,
        file_size=_file_size,
        rows=measures.rows,
        still=_still,
        written=measures.written,
    )


def _is_known(report: SuiteReport, measure: Measure) -> bool:
    """Return whether the measure has a number anywhere: without a judge, many have none."""
    return measures.lookup(report.summary, measure.key) is not None or any(
        asset.numbers.get(measure.key) is not None for asset in report.assets
    )


def _headline(summary: Mapping[str, Json], measure: Measure) -> Headline:
    """Return a number for the top; a share also has its place between guessing and the truth."""

    def find(key: str | None) -> float | None:
        return None if key is None else measures.lookup(summary, key)

    value, chance, ceiling = find(measure.key), find(measure.chance), find(measure.reference)
    text = measures.written(value, measure.unit)
    if measure.unit != "share" or measure.chance is None:
        return Headline(measure.label, text, measure.meaning, None)
    low, high = find(f"{measure.key}_low"), find(f"{measure.key}_high")
    interval = None if low is None or high is None else (low, high)
    note = f"chance {measures.written(chance, measure.unit)}"
    if ceiling is not None:
        note += f", ceiling {measures.written(ceiling, measure.unit)}"
    if value is None:
        return Headline(measure.label, text, note, None)
    if interval is not None:
        note += f", interval {_range(*interval)} %"
    gauge = plots.gauge(
        value, interval=interval, chance=chance, ceiling=ceiling, label=f"{text}; {note}"
    )
    return Headline(measure.label, text, note, gauge)


def _measure_rows(known: list[Measure]) -> list[tuple[Measure, Measure | None]]:
    """Return each measure of an asset with the one that true renders reach, if there is one.

    What guessing gives is the same for most assets, and stands in the suite's summary.
    """
    by_key = {measure.key: measure for measure in known}
    beside = {key for measure in known for key in (measure.reference, measure.chance) if key}
    return [
        (measure, by_key.get(measure.reference or ""))
        for measure in known
        if measure.key not in beside
    ]


def _summary(summary: Mapping[str, Json], known: list[Measure]) -> list[SummaryRow]:
    tables = [table for _, table in measures.groups(summary)]
    return [
        SummaryRow(
            measure.key,
            measure.label,
            measure.meaning,
            tuple(_with_interval(table, measure) for table in tables),
        )
        for measure in known
    ]


def _with_interval(table: Mapping[str, Json], measure: Measure) -> str:
    """Return a measure's text, with its confidence interval if the table has one."""
    text = _value(table, measure.key, measure.unit)
    low, high = (measures.lookup(table, f"{measure.key}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        return text
    return Markup('{} <span class="interval">({})</span>').format(text, _range(low, high))


def _range(low: float, high: float) -> str:
    """Return an interval of shares in percent."""
    return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}"


def _value(metrics: Mapping[str, Json], key: str, unit: Unit) -> str:
    return measures.written(measures.lookup(metrics, key), unit)


def _still(asset: AssetReport) -> Path | None:
    """Return the asset's picture for readers who want no motion."""
    return asset.views[0].color if asset.views else asset.turntable


def _chart(table: Path, label: str) -> Markup:
    return plots.line_chart(plots.read_curve(table), label=label)


def _file_size(path: Path) -> str:
    size = path.stat().st_size
    if size < 1e3:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _lights() -> list[tuple[str, str]]:
    """Return the kit's environments by name, as HDR pictures in base64."""
    return [
        (name, base64.b64encode(hdr_bytes(environment(name))).decode("ascii"))
        for name in LIGHT_NAMES
    ]
