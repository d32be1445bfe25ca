"""Whether pulled outputs are what the lock records: DVC trusts its cache and its remotes.

DVC's hash of a file is its MD5. That of a folder is the MD5 of a JSON list of its files' hashes,
sorted by path, with the ending `.dir`.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.lock_file import LockedStage


def check_pulled(root: Path, stages: Sequence[LockedStage]) -> None:
    """Compare the outputs of `stages`, below `root`, with the hashes in the lock.

    One that differs is removed, so that it is not taken for made.

    Raises:
        SuiteError: if one differs or is missing: an object of the cache or the remote is damaged.
    """
    for stage in stages:
        for name, recorded in stage.outs.items():
            if (found := dvc_hash(root / name)) != recorded:
                _remove(root / name)
                raise SuiteError(
                    f"{root / name}: is not what its lock records (found {found or 'nothing'}, "
                    f"expected {recorded}): an object in the cache or the remote is damaged; "
                    "remove it there, and run again"
                )


def dvc_hash(path: Path) -> str | None:
    """Return DVC's hash of a file or folder; None if there is neither."""
    if not path.exists():
        return None
    if not path.is_dir():
        return _md5(path)
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    entries = [{"md5": _md5(path / name), "relpath": name} for name in names]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
