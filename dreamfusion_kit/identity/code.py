"""The digest of the code behind each stage: one identity for checkpoints, records and DVC.

A stage's code is the import closure of its module, and the data files that those modules
read. A change of anything else, of a comment, of a docstring or of the layout leaves the
digest as it is.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import get_args

import grimp

import dreamfusion_kit
from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.identity.syntax import source_digest

PACKAGE = "dreamfusion_kit"
ROOT = Path(str(dreamfusion_kit.__file__)).parent

# What a stage's modules read beside Python: folders or files of the package.
DATA: Mapping[CodeName, tuple[str, ...]] = {
    "fetch": ("toybox/weights/prior", "toybox/weights/clip"),
    "evaluate": ("toybox/weights/view",),
    "report": ("report/templates", "report/vendor"),
}


@cache
def code_digest(name: CodeName) -> str:
    """Return the digest of the code of one stage, as 64 hex digits."""
    graph = import_graph()
    return _digest(closure(name, graph), DATA.get(name, ()))


def code_digests(memory: Path | None = None) -> dict[CodeName, str]:
    """Return the digest of the code of every stage.

    `memory` is a file that keeps the last answer with the size and time of change of every file
    of the package: while those are the same, nothing is read.
    """
    stamp = _stamp()
    if memory is not None and (known := _recall(memory, stamp)) is not None:
        return known
    graph = import_graph()
    digests: dict[CodeName, str] = {
        name: _digest(closure(name, graph), DATA.get(name, ())) for name in get_args(CodeName)
    }
    if memory is not None:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"stamp": stamp, "digests": digests}), encoding="utf-8")
    return digests


def import_graph() -> grimp.ImportGraph:
    """Return which module of the package imports which, types aside."""
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


def closure(name: CodeName, graph: grimp.ImportGraph) -> list[str]:
    """Return the modules that running the stage `name` imports, itself among them, sorted.

    The package's own `__init__` is not one of them: it names the Python API, and no result
    depends on it. A new name there reruns nothing.
    """
    module = f"{PACKAGE}.stages.{name}"
    modules = {module, *graph.find_upstream_modules(module)}
    # Importing a.b.c also runs the packages a and a.b.
    packages = {".".join(name.split(".")[:depth]) for name in modules for depth in (1, 2, 3)}
    return sorted((modules | (packages & graph.modules)) - {PACKAGE})


def _digest(modules: Iterable[str], data: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module} {_module_digest(module)}\n".encode())
    for name in data:
        for path in _files(ROOT / name):
            digest.update(f"{path.relative_to(ROOT).as_posix()} {_file_digest(path)}\n".encode())
    return digest.hexdigest()


@cache
def _module_digest(module: str) -> str:
    base = ROOT.parent.joinpath(*module.split("."))
    package = base / "__init__.py"
    path = package if package.exists() else base.with_suffix(".py")
    return source_digest(path.read_text(encoding="utf-8"))


@cache
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _stamp() -> str:
    """Return a digest of the name, size and time of change of every file of the package."""
    digest = hashlib.sha256()
    for path in _files(ROOT):
        if "__pycache__" not in path.parts:
            status = path.stat()
            name = path.relative_to(ROOT).as_posix()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _recall(memory: Path, stamp: str) -> dict[CodeName, str] | None:
    """Return the remembered digests; a memory that cannot be read is written again."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        digests = known["digests"] if known["stamp"] == stamp else {}
        return digests if set(digests) == set(get_args(CodeName)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
