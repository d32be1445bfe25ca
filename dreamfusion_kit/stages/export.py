"""Writes a suite's finished assets as other projects' evaluations read them."""

import fnmatch
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, EvaluationError, RecipeError
from dreamfusion_kit.evaluation.surface import load_mesh
from dreamfusion_kit.evaluation.views import each_view, mesh_renderer
from dreamfusion_kit.image_files import png_bytes, quantized
from dreamfusion_kit.recipe.load import read_text
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve_all
from dreamfusion_kit.recipe.suite import load_protocol, load_suite
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import SuiteLayout

T3BENCH_GROUPS = ("single", "surr", "multi")
_TEXTURE = re.compile(r"^map_Kd (\S+)$", re.MULTILINE)
_VECTOR = re.compile(r"^(vn?) (\S+) (\S+) (\S+)$", re.MULTILINE)

# threestudio's cameras for tests, which GPTEval3D asks for: 120 of a full turn, 512 pixels.
GPTEVAL3D_VIEWS = {
    "num_azimuths": 120,
    "elevation_deg": 15.0,
    "radius": 1.5,
    "fov_y_deg": 70.0,
    "image_size_px": 512,
}


def t3bench(
    workspace: Path, suite: str, directory: Path, *, method: str, group: str, seed: int | None
) -> list[Path]:
    """Write the meshes of a suite where T3Bench's scripts look for them; return the folders.

    Its scripts find a prompt's mesh by a pattern that starts with the prompt, so a prompt that
    another one continues could be given the other's mesh.

    Args:
        workspace: The workspace.
        suite: The suite.
        directory: A clone of THU-LYJ-Lab/T3Bench, or a folder to copy there.
        method: The name to score it under.
        group: Which of its lists of prompts.
        seed: Only the assets of this seed; None if each prompt was made once.

    Raises:
        EvaluationError: if its scripts would find no mesh, or another one, for a prompt.
    """
    root = directory / "outputs_mesh_t3" / f"{method}_{group}"
    folders: dict[str, str] = {}
    assets = _made(workspace, suite, seed)
    for resolved in assets:
        folders[resolved.prompt] = f"{resolved.prompt.replace(' ', '_')}@{resolved.id}"
    problems = [
        f"{prompt!r}: T3Bench's pattern for it finds {', '.join(found) or 'nothing'}, expected "
        f"{folder} alone; leave the asset out"
        for prompt, folder in folders.items()
        if (found := _found_by_t3bench(prompt, list(folders.values()))) != [folder]
    ]
    if problems:
        raise EvaluationError("\n".join(problems))
    written: list[Path] = []
    for resolved in assets:
        steps = resolved.recipe.optimize.num_steps
        target = root / folders[resolved.prompt] / "save" / f"it{steps}-export"
        target.mkdir(parents=True, exist_ok=True)
        _write_z_up(SuiteLayout(workspace, suite).asset(resolved.id).final_mesh(resolved), target)
        written.append(target)
    return written


def _write_z_up(mesh: Path, target: Path) -> None:
    """Write model.obj with its material and texture, z up as threestudio has it.

    Ours is y up: its x, y, z are the world's y, z, x.
    """
    text = (mesh / "mesh.obj").read_text(encoding="utf-8")
    material = (mesh / "mesh.mtl").read_text(encoding="utf-8")
    files.write_text(target / "model.obj", _VECTOR.sub(r"\1 \4 \2 \3", text))
    files.write_text(target / "mesh.mtl", material)
    for texture in _TEXTURE.findall(material):
        shutil.copyfile(mesh / Path(texture).name, target / Path(texture).name)


def _found_by_t3bench(prompt: str, folders: list[str]) -> list[str]:
    pattern = f"{prompt.replace(' ', '_')}*"
    return [] if "/" in prompt else [name for name in folders if fnmatch.fnmatchcase(name, pattern)]


def gpteval3d(
    workspace: Path, suite: str, directory: Path, *, prompts: Path, seed: int | None
) -> Iterator[Path]:
    """Render a suite's meshes as GPTEval3D reads a method's folder; yield each asset's folder.

    Colour and world-space normals from 120 sides, under the light and background of the suite's
    protocol. Folders are numbered by the list of prompts.

    Args:
        workspace: The workspace.
        suite: The suite.
        directory: The method's folder.
        prompts: GPTEval3D's prompts.json.
        seed: Only the assets of this seed; None if each prompt was made once.

    Raises:
        RecipeError: if the list of prompts cannot be read.
        EvaluationError: if it lacks an asset's prompt.
    """
    numbers = _prompt_numbers(prompts)
    assets = _made(workspace, suite, seed)
    unknown = [resolved.prompt for resolved in assets if resolved.prompt not in numbers]
    if unknown:
        raise EvaluationError(
            "\n".join(
                f"{prompts}: found no {prompt!r}, expected every prompt" for prompt in unknown
            )
        )
    views = load_protocol(workspace, suite).views.model_copy(update=GPTEVAL3D_VIEWS)
    for resolved in assets:
        target = directory / str(numbers[resolved.prompt]) / str(resolved.seed)
        target.mkdir(parents=True, exist_ok=True)
        mesh = load_mesh(
            SuiteLayout(workspace, suite).asset(resolved.id).final_mesh(resolved) / "mesh.obj"
        )
        render = mesh_renderer(mesh, normals=views.normals)
        for index, view in enumerate(each_view(render, views, supersampling=views.supersampling)):
            for name, image in (("rgb", view.color), ("normal", view.normals)):
                (target / f"{name}_{index}.png").write_bytes(png_bytes(quantized(image)[0]))
        yield target


def _prompt_numbers(path: Path) -> dict[str, int]:
    try:
        found = json.loads(read_text(path, kind="a JSON list of prompts"))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not JSON ({error}); expected a list of prompts") from error
    if not isinstance(found, list) or not all(isinstance(prompt, str) for prompt in found):
        raise RecipeError(f"{path}: found other JSON, expected a list of prompts")
    return {prompt: number for number, prompt in enumerate(found)}


def _made(workspace: Path, suite: str, seed: int | None) -> list[ResolvedAsset]:
    """Return the assets of a suite, of one seed if given: all made as they are, prompts once."""
    resolved = resolve_all(workspace, load_suite(workspace, suite)).values()
    chosen = [asset for asset in resolved if seed is None or asset.seed == seed]
    if not chosen:
        what = "assets" if seed is None else f"asset of seed {seed}"
        raise EvaluationError(f"suite {suite}: found no {what}, expected some; see `suite list`")
    problems: list[str] = []
    first: dict[str, str] = {}
    for asset in chosen:
        twin = first.setdefault(asset.prompt, asset.id)
        if twin != asset.id:
            problems.append(
                f"{asset.id}: found the prompt of {twin} again, expected each once; choose --seed"
            )
        own = SuiteLayout(workspace, suite).asset(asset.id)
        if not (own.final_mesh(asset) / "mesh.obj").is_file():
            problems.append(f"{asset.id}: not made yet, expected a mesh; run `dvc repro`")
            continue
        try:  # or others would publish what an earlier recipe made
            origin.check_final_mesh(own, asset)
        except DreamFusionKitError as error:
            problems.append(str(error))
    if problems:
        raise EvaluationError("\n".join(problems))
    return chosen
