"""Makes an asset of a mesh that others made: its files are copied, pinned and tracked by DVC."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, MeshError, RecipeError
from dreamfusion_kit.mesh.imported.convert import ImportRecord
from dreamfusion_kit.mesh.imported.references import source_files
from dreamfusion_kit.mesh.imported.trial import Trial
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.document import Document, Place, Value
from dreamfusion_kit.recipe.imported import (
    Axis,
    ImportSection,
    why_not_open,
    why_not_refined,
)
from dreamfusion_kit.recipe.load import load_recipe, validate
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.suite_schema import ASSET_FILE, ASSET_ID
from dreamfusion_kit.recipe.workspace import DEFAULT, asset_source, recipe_file, suite_root
from dreamfusion_kit.recipe.yaml_text import scalar
from dreamfusion_kit.workspace.folder import new_suite, refresh

SUITE = "imported"  # where a mesh goes that is imported without naming a suite
_TRIAL_SECONDS = 300
_UNWRAP_SECONDS = 120
# Up, front and metres per unit, as each format defines or most programs write it.
_USUAL: dict[str, tuple[Axis, Axis, float]] = {
    "glb": ("y", "z", 1.0),
    "gltf": ("y", "z", 1.0),
    "obj": ("y", "z", 1.0),
    "ply": ("z", "-y", 1.0),
    "stl": ("z", "-y", 0.001),
}


@dataclass(frozen=True)
class Reading:
    """How a file is to be read; None stands for what is usual in its format."""

    up: str | None = None
    front: str | None = None
    meters_per_unit: float | None = None
    keep_uvs: bool = False


def import_model(
    workspace: Path,
    suite: str,
    asset_id: str,
    model: Path,
    *,
    prompt: str,
    recipe: str,
    reading: Reading,
) -> str:
    """Add an asset with the mesh of the file `model`; return lines that say what was done.

    The suite is created if missing. The file is read and converted once before anything is
    written, so that what cannot work is refused here.

    Raises:
        DreamFusionKitError: if the id is taken, the file cannot be read, or the suite would
            become invalid; nothing is changed then.
    """
    if not re.fullmatch(ASSET_ID, asset_id):
        raise RecipeError(f"asset {asset_id!r}: expected an id of 1 to 64 of a-z, 0-9 and _")
    if suite == DEFAULT:
        raise RecipeError(
            "suite default: expected another suite to import to, since its pipeline makes every "
            "asset from its prompt; name one with --suite, or none for suites/imported"
        )
    path = recipe_file(workspace, recipe)
    if not path.is_file():
        raise RecipeError(f"--recipe {recipe}: found no {path}, expected a recipe's name")
    method = load_recipe(path)
    if method.refine is not None and (problem := why_not_refined(method)):
        raise RecipeError(f"--recipe {recipe}: {problem}")
    folder = suite_root(workspace, suite) / "assets" / asset_id
    is_new = not suite_root(workspace, suite).exists()
    if folder.exists() or (not is_new and asset_id in load_suite(workspace, suite).assets):
        raise RecipeError(f"{folder}: asset {asset_id!r} is there already, remove it first")
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as temporary:
        copies = Path(temporary) / "source"
        section = _copied(model, copies, reading)
        section, trial = _tried(copies, section, model, method.mesh.texture_size_px)
        _check_start(model, method, trial)
        try:
            if is_new:
                new_suite(workspace, suite, recipe=recipe)
            shutil.copytree(copies, asset_source(workspace, suite, asset_id))
            files.write_text(folder / ASSET_FILE, _asset_yaml(prompt, recipe, section))
            check_suite(workspace, suite)
            _track(suite_root(workspace, suite), asset_source(workspace, suite, asset_id))
            refresh(workspace, suite)
        except BaseException:
            shutil.rmtree(suite_root(workspace, suite) if is_new else folder, ignore_errors=True)
            raise
    return _said(folder, section, trial["record"])


def _copied(model: Path, folder: Path, reading: Reading) -> ImportSection:
    """Copy a model and its references, and return the section that pins the copies."""
    sources = source_files(model)
    for name, path in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    main = next(iter(sources))
    up, front, meters_per_unit = _USUAL[main.rpartition(".")[2]]
    data: dict[str, Value] = {
        "file": main,
        "files": {name: files.sha256(folder / name) for name in sources},
        "up": reading.up or up,
        "front": reading.front or front,
        "meters_per_unit": reading.meters_per_unit or meters_per_unit,
        "uvs": "keep" if reading.keep_uvs else "unwrap",
    }
    return validate(Document(data, {(): Place(str(model), 1)}), ImportSection)


def _tried(
    folder: Path, section: ImportSection, model: Path, texture_size_px: int
) -> tuple[ImportSection, Trial]:
    """Convert the mesh in a process of its own; where unwrapping hangs, project onto a box.

    The choice is written into asset.yaml, so that the stage itself never depends on a clock.
    """
    try:
        return section, _trial(folder, section, model, texture_size_px)
    except subprocess.TimeoutExpired:
        box = section.model_copy(update={"uvs": "box"})
    try:
        return box, _trial(folder, box, model, texture_size_px)
    except subprocess.TimeoutExpired:
        raise MeshError(
            f"{model}: took over {_TRIAL_SECONDS} s to convert; expected a smaller model; "
            "decimate it first"
        ) from None


def _trial(folder: Path, section: ImportSection, model: Path, texture_size_px: int) -> Trial:
    asked = {"section": section.model_dump(mode="json"), "texture_size_px": texture_size_px}
    done = subprocess.run(
        [sys.executable, "-m", "dreamfusion_kit.mesh.imported.trial", str(folder), str(model)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        errors="backslashreplace",  # it may name files that are not UTF-8
        check=False,
        timeout=_UNWRAP_SECONDS if section.uvs == "unwrap" else _TRIAL_SECONDS,
    )
    answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
    if isinstance(answer, str):
        raise MeshError(answer)
    if done.returncode != 0 or answer is None:
        raise MeshError(
            f"{model}: ended its conversion (status {done.returncode}); expected a surface of "
            "triangles; repair it in a modelling program"
        )
    return answer


def _check_start(model: Path, recipe: Recipe, trial: Trial) -> None:
    """Refuse an open mesh that the recipe would refine from its signed distances."""
    if recipe.refine is None or trial["is_closed"]:
        return
    if problem := why_not_open(recipe.refine):
        raise MeshError(f"{model}: {problem}")


def _asset_yaml(prompt: str, recipe: str, section: ImportSection) -> str:
    lines = [
        f"prompt: {scalar(prompt)}",
        f"recipe: {scalar(recipe)}",
        "seed: 0",
        "overrides: {}",
        "import:",
        f"  file: {scalar(section.file)}",
        "  files:",
        *(f"    {scalar(name)}: {scalar(sha256)}" for name, sha256 in section.files.items()),
        f"  up: {scalar(section.up)}",
        f"  front: {scalar(section.front)}",
        f"  meters_per_unit: {section.meters_per_unit!r}",
        f"  uvs: {section.uvs}",
    ]
    return "\n".join(lines) + "\n"


def _track(root: Path, source: Path) -> None:
    """Put the files into DVC's cache: a dependency that `dvc push` and `dvc pull` carry."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", source.relative_to(root).as_posix()],
        cwd=root,
        capture_output=True,
        text=True,
        errors="backslashreplace",  # it may name files that are not UTF-8
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DreamFusionKitError(
            f"{source}: DVC did not add it ({reason}); expected the suite's folder to be a DVC "
            "project"
        )


def _said(folder: Path, section: ImportSection, record: ImportRecord) -> str:
    used = record["faces_in_file"] - record["dropped_faces"]
    lines = [
        f"{folder}: {_counted(used, 'face')}, {_counted(record['materials'], 'material')}, "
        f"{_counted(record['images'], 'texture')}, "
        f"{record['size_m']:.3g} m, up {section.up}, front {section.front}"
    ]
    if record["dropped_faces"]:
        dropped = _counted(record["dropped_faces"], "face")
        lines.append(f"{folder}: {dropped} without an area left out")
    if section.uvs == "box":
        lines.append(f"{folder}: could not be unwrapped in time; import.uvs is box")
    return "\n".join(lines)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
