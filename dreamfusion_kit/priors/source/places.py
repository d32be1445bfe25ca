"""Where the models on this machine may lie: the workspace, a named folder, DVC's cache.

A link may lead from the first two into the cache, where `dvc config cache.type symlink` puts
the files; anywhere else a link could lead is refused.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.local_models import resolve_path

_UNREADABLE = {
    ".bin": "pickles",
    ".ckpt": "pickles",
    ".pt": "pickles",
    ".pth": "pickles",
    ".gguf": "GGUF files",
    ".onnx": "ONNX graphs",
    ".msgpack": "Flax weights",
    ".h5": "TensorFlow weights",
}


def model_directory(path: str, workspace: Path) -> Path:
    """Return the directory that a source's `path` names, if nothing in it leads elsewhere."""
    directory, root = resolve_path(path, workspace)
    _check_place(directory, path, root)
    if not directory.is_dir():
        raise WeightsError(
            f"source path {path!r}: is not a directory; expected one with the pretrained files; "
            "check the path, or fetch the files (`git lfs pull` or `dvc pull` in a fresh clone); "
            "for one file of the original layout use `kind: file`"
        )
    _check_links(directory, directory.rglob("*"), path, root, workspace)
    _check_content(directory, path)
    return directory


def model_file(path: str, workspace: Path) -> Path:
    """Return the file that a source's `path` names, if it does not lead elsewhere."""
    file, root = resolve_path(path, workspace)
    _check_place(file.parent, path, root)
    _check_links(file.parent, [file], path, root, workspace)
    if not file.is_file():
        raise WeightsError(
            f"source path {path!r}: is not a file; expected a safetensors file; check the path, or "
            "fetch it (`git lfs pull` or `dvc pull` in a fresh clone)"
        )
    return file


def _check_place(place: Path, path: str, root: Path) -> None:
    if not place.resolve().is_relative_to(root.resolve()):
        raise WeightsError(
            f"source path {path!r}: leads out of {_called(path)}; expected a place inside it; "
            f"copy the files into {_called(path)}"
        )


def _check_links(
    directory: Path, files: Iterable[Path], path: str, root: Path, workspace: Path
) -> None:
    resolved = root.resolve()
    leading_out = [file for file in files if not file.resolve().is_relative_to(resolved)]
    cache = dvc_cache(workspace) if leading_out else None
    for file in leading_out:
        if cache is None or not file.resolve().is_relative_to(cache):
            raise WeightsError(
                f"source path {path!r}: {file.relative_to(directory)} is a link that leads out "
                f"of {_called(path)} and not into DVC's cache; expected a file; replace the link "
                "by the file, or name its folder in models.local.yaml"
            )


def dvc_cache(workspace: Path) -> Path | None:
    """Return the folder of DVC's cache, shared or not; None outside of a DVC project."""
    # DVC's Python API carries no promise; the program is asked, once, where a link leads out.
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    asked = subprocess.run(
        command,
        cwd=workspace,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # a path need not be UTF-8
        check=False,
    )
    found = asked.stdout.strip()
    return (workspace / found).resolve() if asked.returncode == 0 and found else None


def _check_content(directory: Path, path: str) -> None:
    """Refuse a folder with weights of which none is in a component's folder, and say what to do."""
    if (directory / "model_index.json").is_file() or (directory / "config.json").is_file():
        _check_weights(directory, path)
        return
    singles = sorted(directory.glob("*.safetensors"))
    if singles:
        raise WeightsError(
            f"source path {path!r}: holds {singles[0].name} and no model_index.json; expected a "
            "diffusers directory; for a Stable Diffusion in one file write `source: {kind: file, "
            f"path: {path}/{singles[0].name}, sha256: ..., prediction_type: ...}}`"
        )
    others = sorted(file for file in directory.glob("*") if file.suffix in _UNREADABLE)
    if others:
        raise _unreadable(others[0], directory, path)


def _check_weights(directory: Path, path: str) -> None:
    """Refuse a component whose only weights are of a kind that is never read."""
    folders = {file.parent for file in directory.rglob("*") if file.suffix in _UNREADABLE}
    for folder in sorted(folders):
        if not list(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
            file = next(file for file in sorted(folder.iterdir()) if file.suffix in _UNREADABLE)
            raise _unreadable(file, directory, path)


def _unreadable(file: Path, directory: Path, path: str) -> WeightsError:
    return WeightsError(
        f"source path {path!r}: {file.relative_to(directory).as_posix()} is all that holds weights "
        f"there; {_UNREADABLE[file.suffix]} are never read; expected safetensors; convert a "
        "directory that you trust with `DiffusionPipeline.from_pretrained(DIRECTORY)"
        ".save_pretrained(TARGET, safe_serialization=True)` of diffusers, or get the model's "
        "safetensors"
    )


def _called(path: str) -> str:
    name, colon, _ = path.partition(":")
    return f"the folder {name} of models.local.yaml" if colon else "the workspace"
