"""The dvc.yaml files of suites that are folders, from the templates beside this module.

Names are written into them as literal text, checked before. DVC would pass interpolated text to
a shell, and interpolation takes half of the time to read such a file.
"""

from collections.abc import Iterator
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_root

TEMPLATES = Path(__file__).with_name("templates")
_ASSET_HEADER = (
    "# Written by `dreamfusion-kit suite`. Stages stand in the order in which they run: "
    "`dvc repro -s` keeps to it.\nstages:"
)


def write_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Bring the dvc.yaml files of a suite's folder up to date; return those written."""
    if suite.name == DEFAULT:
        return []
    root = suite_root(workspace, suite.name)
    texts = {root / name: text for name, text in pipelines(suite)}
    changed = [path for path, text in texts.items() if not _says(path, text)]
    for path in changed:
        files.write_text(path, texts[path])
    return changed


def stale_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Return the dvc.yaml files of a suite's folder that are not what they should be."""
    root = suite_root(workspace, suite.name)
    if suite.name == DEFAULT:
        return []
    return [root / name for name, text in pipelines(suite) if not _says(root / name, text)]


def pipelines(suite: Suite) -> Iterator[tuple[str, str]]:
    """Yield the place, relative to the suite's folder, and the text of every dvc.yaml."""
    yield "dvc.yaml", _suite_pipeline(suite)
    for folder in suite.folders:
        yield f"assets/{folder}/dvc.yaml", _asset_pipeline(suite, folder)


def _suite_pipeline(suite: Suite) -> str:
    params = ["suite.yaml", *(f"../../recipes/{name}.yaml" for name in suite.recipes)]
    if suite.protocol is not None:
        params.append(f"../../protocols/{suite.protocol}.yaml")
    return _filled(
        "suite.dvc.yaml",
        suite=suite.name,
        params=f"[{', '.join(params)}]",
        fetches="".join(_filled("fetch.dvc.yaml", recipe=name) for name in suite.recipes),
    )


def _asset_pipeline(suite: Suite, folder: str) -> str:
    stages = [
        _filled(
            "asset.dvc.yaml",
            asset=asset_id,
            folder=folder,
            recipe=suite.assets[asset_id].recipe,
            suffix=asset_id.removeprefix(folder),
        )
        for asset_id in suite.in_folder(folder)
    ]
    return _ASSET_HEADER + "".join(stages)


def _filled(template: str, **words: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False
