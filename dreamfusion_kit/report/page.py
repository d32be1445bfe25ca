"""What every page of the kit shares: one file that opens offline, anywhere.

Pictures and meshes are embedded as base64, since a page from `file://` may fetch nothing; its
content security policy forbids network requests.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

_HERE = Path(__file__).parent
VIEWER = _HERE / "vendor" / "model-viewer-umd.min.js"
TEMPLATES = _HERE / "templates"

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


def template(name: str, folder: Path = TEMPLATES) -> Template:
    """Return a page's template: everything is escaped, and a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def policy(scripts: Sequence[Markup]) -> str:
    """Return the content security policy of a page with these scripts alone."""
    return _POLICY.format(" ".join(_source_hash(script) for script in scripts))


def style(*paths: Path) -> Markup:
    """Return style sheets as one."""
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in paths))


def script(path: Path) -> Markup:
    """Return a script's text for a script element, without the URL of its source map."""
    text = path.read_text(encoding="utf-8")
    return Markup(text.split("\n//# sourceMappingURL=", 1)[0])


def data_uri(picture: Path) -> str:
    """Return a picture as a `data:` URI; its suffix gives the type."""
    media_type = _MEDIA_TYPES.get(picture.suffix.lower())
    if media_type is None:
        known = ", ".join(_MEDIA_TYPES)
        raise ValueError(f"{picture}: found a {picture.suffix!r} file, expected one of {known}")
    return f"data:{media_type};base64,{base64_of(picture)}"


def base64_of(path: Path) -> str:
    """Return a file as base64."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _source_hash(text: Markup) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
