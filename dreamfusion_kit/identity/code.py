"""The digest of the code behind each stage: one identity for checkpoints, records and DVC.

A stage's code is the import closure of its module, and the data files that those modules
read. A change to anything else, or to a comment, a docstring or the layout, leaves the
digest unchanged.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, FileError
from dreamfusion_kit.identity.stage_name import ASSET_STAGES, TOYBOX_TRAININGS, CodeName
from dreamfusion_kit.identity.syntax import source_digest

if TYPE_CHECKING:
    import grimp

PACKAGE = "dreamfusion_kit"
ROOT = Path(__file__).parents[1]

# What a stage's modules read besides Python: folders or files of the package.
DATA: Mapping[CodeName, tuple[str, ...]] = {
    "fetch": (
        "toybox/weights/prior",
        "toybox/weights/latent",
        "toybox/weights/flow",
        "toybox/weights/multiview",
        "toybox/weights/clip",
        "priors/source/clip_vocabulary",
    ),
    "evaluate": ("toybox/weights/view",),
    "report": ("report/templates", "report/vendor"),
}


def code_digest(name: CodeName) -> str:
    """Return the digest of the code of one stage, as 64 hex digits."""
    return code_digests()[name]


def code_digests(memory: Path | None = None) -> Mapping[CodeName, str]:
    """Return the digest of the code of every stage.

    `memory` is a file that caches the last answer with the size and modification time of every
    file of the package: while those are unchanged, nothing else is read.
    """
    if memory is None:
        return _computed()
    stamp = _stamp()
    known = _recall(memory, stamp)
    if known is None:
        known = _computed()
        with suppress(FileError):  # another user's workspace can be read all the same
            files.write_json(memory, {"stamp": stamp, "digests": known})
    return known


@cache
def _computed() -> Mapping[CodeName, str]:
    import grimp  # takes longer to import than the cached answer takes to read

    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    return {name: _digest(closure(name, graph), DATA.get(name, ())) for name in get_args(CodeName)}


def closure(name: CodeName, graph: "grimp.ImportGraph") -> list[str]:
    """Return the modules that running the stage `name` imports, itself among them, sorted.

    An import inside a function counts. Importing a.b.c also runs the packages a and a.b, and
    whatever they import.
    """
    found: set[str] = set()
    wanted = {f"{PACKAGE}.stages.{name}"}
    if name in (*ASSET_STAGES, *TOYBOX_TRAININGS):
        # Their commands pick the device, and how deterministic it is.
        wanted.add(f"{PACKAGE}.stages.devices")
    while wanted:
        module = wanted.pop()
        found.add(module)
        package = module.rpartition(".")[0]
        needed = graph.find_modules_directly_imported_by(module) | ({package} if package else set())
        wanted |= needed - found
    return sorted(found)


def _digest(modules: Iterable[str], data: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for module in modules:
        if module == PACKAGE:  # exports the Python API, and affects no result
            continue
        digest.update(f"{module} {_module_digest(module)}\n".encode())
    for name in data:
        if not (ROOT / name).exists():
            raise DreamFusionKitError(
                f"{ROOT / name}: missing from the installation; install dreamfusion-kit again"
            )
        for path in _files(ROOT / name):
            digest.update(f"{path.relative_to(ROOT).as_posix()} {files.sha256(path)}\n".encode())
    return digest.hexdigest()


@cache
def _module_digest(module: str) -> str:
    base = ROOT.parent.joinpath(*module.split("."))
    package = base / "__init__.py"
    path = package if package.exists() else base.with_suffix(".py")
    return source_digest(path.read_text(encoding="utf-8"))


def _files(path: Path) -> list[Path]:
    """Return the file, or the files in the folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _stamp() -> str:
    """Return a digest of the name, size and modification times of every file of the package."""
    digest = hashlib.sha256()
    for path in _files(ROOT):
        if "__pycache__" not in path.parts:
            status = path.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"  # tools may reset the first one
            name = path.relative_to(ROOT).as_posix()
            digest.update(f"{name} {status.st_size} {times}\n".encode())
    return digest.hexdigest()


def _recall(memory: Path, stamp: str) -> Mapping[CodeName, str] | None:
    """Return the cached digests; a cache that cannot be read is written again."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        digests = known["digests"] if known["stamp"] == stamp else {}
        return digests if set(digests) == set(get_args(CodeName)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
