"""The comparison as one self-contained page: two columns, viewers that turn together."""

from pathlib import Path

from dreamfusion_kit.report import page
from dreamfusion_kit.report.comparison.content import Comparison

_HERE = Path(__file__).parent


def render_comparison(comparison: Comparison) -> str:
    """Return the page's HTML, with every mesh and picture embedded."""
    scripts = [
        page.script(page.VIEWER),
        page.script(page.TEMPLATES / "viewer.js"),
        page.script(_HERE / "compare.js"),
    ]
    return page.template("compare.html.j2", _HERE).render(
        comparison=comparison,
        policy=page.policy(scripts),
        style=page.style(page.TEMPLATES / "style.css", _HERE / "compare.css"),
        scripts=scripts,
        base64=page.base64_of,
        data_uri=page.data_uri,
        line_kind=_line_kind,
    )


def _line_kind(line: str) -> str:
    return {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "same")
