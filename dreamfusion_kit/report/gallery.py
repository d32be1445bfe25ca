"""One self-contained page, index.html: it opens from a file, offline, anywhere.

Pictures and meshes are embedded as base64, since a page from `file://` may fetch nothing;
its content security policy forbids network requests. Only the downloads lie beside it.
Equal input gives equal bytes: no clock, no path, no random name.
"""

import base64
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from dreamfusion_kit.environment import LIGHT_NAMES, environment, hdr_bytes
from dreamfusion_kit.report import measures, plots
from dreamfusion_kit.report.content import AssetReport, Json, Measure, SuiteReport, Unit

_HERE = Path(__file__).parent
_VIEWER = _HERE / "vendor" / "model-viewer-umd.min.js"
_TEMPLATES = _HERE / "templates"

_MEDIA_TYPES = {
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}

# model-viewer styles itself with style elements, compiles a mesh decoder (WebAssembly) as it
# starts, and reads blobs made from the page's data.
_POLICY = (
    "default-src 'none'; script-src 'wasm-unsafe-eval' {}; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src blob:; base-uri 'none'; form-action 'none'"
)


class Headline(NamedTuple):
    """A number at the top of the page; `gauge` is set if it is a share to compare."""

    label: str
    value: str
    note: str
    gauge: Markup | None


class SummaryRow(NamedTuple):
    """A measure of the suite, written for each of its groups of assets."""

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
    page = directory / "index.html"
    page.write_bytes(render_page(report).encode())
    return page


def render_page(report: SuiteReport) -> str:
    """Return the page's HTML, with every file that the report names embedded."""
    scripts = [_script(_VIEWER), _script(_TEMPLATES / "viewer.js")]
    known = [measure for measure in report.measures if _is_known(report, measure)]
    return _template().render(
        report=report,
        policy=_POLICY.format(" ".join(_source_hash(script) for script in scripts)),
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        scripts=scripts,
        recipes=list(dict.fromkeys(asset.recipe_name for asset in report.assets)),
        headlines=[_headline(report.summary, measure) for measure in known if measure.is_headline],
        group_names=[name for name, _ in measures.groups(report.summary)],
        summary=_summary(report.summary, known),
        measures=known,
        lights=_lights(),
        base64=_base64,
        chart=_chart,
        data_uri=data_uri,
        file_size=_file_size,
        rows=measures.rows,
        still=_still,
        written=measures.written,
    )


def data_uri(picture: Path) -> str:
    """Return a picture as a `data:` URI; its suffix gives the type."""
    media_type = _MEDIA_TYPES.get(picture.suffix.lower())
    if media_type is None:
        known = ", ".join(_MEDIA_TYPES)
        raise ValueError(f"{picture}: found a {picture.suffix!r} file, expected one of {known}")
    return f"data:{media_type};base64,{_base64(picture)}"


def _template() -> Template:
    """Return the page's template: everything is escaped, and a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2")


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
    note = f"chance {measures.written(chance, measure.unit)}"
    if ceiling is not None:
        note += f", ceiling {measures.written(ceiling, measure.unit)}"
    if value is None:
        return Headline(measure.label, text, note, None)
    low, high = find(f"{measure.key}_low"), find(f"{measure.key}_high")
    interval = None if low is None or high is None else (low, high)
    gauge = plots.gauge(
        value, interval=interval, chance=chance, ceiling=ceiling, label=f"{text}; {note}"
    )
    return Headline(measure.label, text, note, gauge)


def _summary(summary: Mapping[str, Json], known: list[Measure]) -> list[SummaryRow]:
    tables = [table for _, table in measures.groups(summary)]
    return [
        SummaryRow(
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
    interval = f"({100 * low:.0f}\N{EN DASH}{100 * high:.0f})"
    return Markup('{} <span class="interval">{}</span>').format(text, interval)


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


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _lights() -> list[tuple[str, str]]:
    """Return the kit's environments by name, as HDR pictures in base64."""
    return [
        (name, base64.b64encode(hdr_bytes(environment(name))).decode("ascii"))
        for name in LIGHT_NAMES
    ]


def _script(path: Path) -> Markup:
    """Return a script's text for a script element, without the URL of its source map."""
    text = path.read_text(encoding="utf-8")
    return Markup(text.split("\n//# sourceMappingURL=", 1)[0])


def _source_hash(script: Markup) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
