"""The dvc.yaml files of suites that are folders, from the templates beside this module.

Names are written into them as literal text, checked before. DVC would pass interpolated text to
a shell, and interpolation takes half of the time to read such a file.
"""

from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.recipe.resolved import fetched_recipes, refined_assets
from dreamfusion_kit.recipe.scene import FOLDER, Scene, load_scene, scene_names
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_root
from dreamfusion_kit.recipe.yaml_text import scalar
from dreamfusion_kit.workspace.default_pipeline import with_refinement

TEMPLATES = Path(__file__).with_name("templates")
_ASSET_HEADER = (
    "# Written by `dreamfusion-kit suite`. Stages stand in the order in which they run: "
    "`dvc repro -s` keeps to it.\nstages:"
)

_SCENES_HEADER = (
    "# Written by `dreamfusion-kit upgrade`: the scenes of this folder. `dvc repro "
    "scenes/dvc.yaml`\n# makes them; `dvc repro` alone does not, since pictures need Mitsuba.\n"
    "stages:"
)


def write_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Bring the dvc.yaml files of a suite and its scenes up to date; return those written."""
    texts = _texts(workspace, suite)
    changed = [path for path, text in texts.items() if not _says(path, text)]
    for path in changed:
        files.write_text(path, texts[path])
    return changed


def stale_pipelines(workspace: Path, suite: Suite) -> list[Path]:
    """Return the dvc.yaml files of a suite and its scenes that are not what they should be."""
    return [path for path, text in _texts(workspace, suite).items() if not _says(path, text)]


def _texts(workspace: Path, suite: Suite) -> dict[Path, str]:
    """Return the texts of the dvc.yaml files that the kit writes, by their places.

    Of the default suite's own pipeline only the stages of refined assets are the kit's; the
    rest may be edited by hand, and stays.
    """
    root = suite_root(workspace, suite.name)
    refined = refined_assets(workspace, suite)
    if suite.name == DEFAULT:
        found = _read(root / "dvc.yaml")
        text = with_refinement(found, suite, refined)
        own = {} if text == found else {root / "dvc.yaml": text}
    else:
        own = {root / name: text for name, text in pipelines(suite, refined)}
    scenes = [
        load_scene(workspace, suite.name, name) for name in scene_names(workspace, suite.name)
    ]
    if scenes:
        own[root / FOLDER / "dvc.yaml"] = scene_pipeline(scenes, refined)
    return own


def scene_pipeline(scenes: Iterable[Scene], refined: Set[str]) -> str:
    """Return the dvc.yaml in a folder of scenes: a stage for each."""
    stages = [
        _filled(
            "scene.dvc.yaml",
            scene=scene.scene,
            stage=scalar(scene.scene),
            meshes="".join(
                f"      - out/{'refined' if asset in refined else 'mesh'}/{asset}\n"
                for asset in scene.assets
            ),
        )
        for scene in scenes
    ]
    return _SCENES_HEADER + "".join(stages)


def pipelines(suite: Suite, refined: Set[str]) -> Iterator[tuple[str, str]]:
    """Yield the place, relative to the suite's folder, and the text of every dvc.yaml."""
    yield "dvc.yaml", _suite_pipeline(suite, refined)
    for folder in suite.folders:
        yield f"assets/{folder}/dvc.yaml", _asset_pipeline(suite, folder, refined)


def _suite_pipeline(suite: Suite, refined: Set[str]) -> str:
    fetched = fetched_recipes(suite, refined)
    has_fields = not suite.assets or any(not each.imported for each in suite.assets.values())
    params = ["suite.yaml", *(f"../../recipes/{name}.yaml" for name in fetched)]
    if suite.protocol is not None:
        params.append(f"../../protocols/{suite.protocol}.yaml")
    return _filled(
        "suite.dvc.yaml",
        suite=suite.name,
        params=f"[{', '.join(params)}]",
        field="      - out/field\n" if has_fields else "",
        refined="      - out/refined\n" if refined else "",
        fetches="".join(_filled("fetch.dvc.yaml", recipe=name) for name in fetched),
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
    is_imported, is_refined = suite.assets[asset_id].imported, asset_id in refined
    start = "" if is_imported else f"      - out/field/{asset_id}\n"
    embed = _filled("embed.dvc.yaml", **words) if is_refined or not is_imported else ""
    return _filled(
        "imported.dvc.yaml" if is_imported else "asset.dvc.yaml",
        **words,
        embed=embed,
        refine=_filled("refine.dvc.yaml", **words, field=start) if is_refined else "",
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
