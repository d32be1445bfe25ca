"""The dvc.yaml files of suites that are folders, from the templates beside this module.

Names are written into them as literal text, checked before. DVC would pass interpolated text to
a shell, and interpolation takes half of the time to read such a file.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.recipe.suite import Suite, refined_assets
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_root
from dreamfusion_kit.workspace.default_pipeline import with_refinement

TEMPLATES = Path(__file__).with_name("templates")
_ASSET_HEADER = (
    "# Written by `dreamfusion-kit suite`. Stages stand in the order in which they run: "
    "`dvc repro -s` keeps to it.\nstages:"
)


def write_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Bring the dvc.yaml files of a suite up to date; return those written."""
    if suite.name == DEFAULT:
        return _write_default(workspace, suite)
    root = suite_root(workspace, suite.name)
    texts = {root / name: text for name, text in pipelines(workspace, suite)}
    changed = [path for path, text in texts.items() if not _says(path, text)]
    for path in changed:
        files.write_text(path, texts[path])
    return changed


def stale_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Return the dvc.yaml files of a suite that are not what they should be."""
    root = suite_root(workspace, suite.name)
    if suite.name == DEFAULT:
        path = workspace / "dvc.yaml"
        found = _read(path)
        return [] if found in ("", with_refinement(found, workspace, suite)) else [path]
    return [
        root / name for name, text in pipelines(workspace, suite) if not _says(root / name, text)
    ]


def _write_default(workspace: Path, suite: Suite) -> list[Path]:
    """Bring the stages of refined assets up to date; the rest may be edited by hand, and stays."""
    path = workspace / "dvc.yaml"
    found = _read(path)
    text = with_refinement(found, workspace, suite)
    if text == found:
        return []
    files.write_text(path, text)
    return [path]


def pipelines(workspace: Path, suite: Suite) -> Iterator[tuple[str, str]]:
    """Yield the place, relative to the suite's folder, and the text of every dvc.yaml."""
    refined = refined_assets(workspace, suite)
    yield "dvc.yaml", _suite_pipeline(suite, refined)
    for folder in suite.folders:
        yield f"assets/{folder}/dvc.yaml", _asset_pipeline(suite, folder, refined)


def _suite_pipeline(suite: Suite, refined: Set[str]) -> str:
    params = ["suite.yaml", *(f"../../recipes/{name}.yaml" for name in suite.recipes)]
    return _filled(
        "suite.dvc.yaml",
        suite=suite.name,
        params=f"[{', '.join(params)}]",
        refined="      - out/refined\n" if refined else "",
        fetches="".join(_filled("fetch.dvc.yaml", recipe=name) for name in suite.recipes),
    )


def _asset_pipeline(suite: Suite, folder: str, refined: Set[str]) -> str:
    parts = [_asset_stages(suite, folder, asset, refined) for asset in suite.in_folder(folder)]
    return _ASSET_HEADER + "".join(parts)


def _asset_stages(suite: Suite, folder: str, asset_id: str, refined: Set[str]) -> str:
    words = {
        "asset": asset_id,
        "folder": folder,
        "recipe": suite.assets[asset_id].recipe,
        "suffix": asset_id.removeprefix(folder),
    }
    is_refined = asset_id in refined
    return _filled(
        "asset.dvc.yaml",
        **words,
        refine=_filled("refine.dvc.yaml", **words) if is_refined else "",
        mesh="refined" if is_refined else "mesh",
    )


def _filled(template: str, **words: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _says(path: Path, text: str) -> bool:
    return _read(path) == text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
