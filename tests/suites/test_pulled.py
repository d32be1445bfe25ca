"""Outputs compared with the lock: hashes are those that DVC itself records."""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.lock_file import LockedStage, read_lock
from dreamfusion_kit.suites.pulled import check_pulled, dvc_hash

PIPELINE = "stages:\n  make:\n    cmd: 'true'\n    outs: [folder, file.bin]\n"


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, LockedStage]:
    """Return a DVC project with a folder and a file as outputs, and its lock."""
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for name in ("b.txt", "a/ä z.txt", "a/.hidden", "a b/empty"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name.endswith("empty") else name.encode())
    (tmp_path / "file.bin").write_bytes(bytes(range(256)) + b"\r\n")
    with Repo(str(tmp_path)) as repo:
        repo.commit(force=True)
    return tmp_path, read_lock(tmp_path / "dvc.lock")["make"]


def test_hashes_are_dvcs(project: tuple[Path, LockedStage]) -> None:
    root, locked = project
    assert {name: dvc_hash(root / name) for name in locked.outs} == locked.outs
    check_pulled(root, [locked])


@pytest.mark.parametrize("name", ["folder/a/.hidden", "file.bin"])
def test_an_output_that_differs_is_named_and_removed(
    project: tuple[Path, LockedStage], name: str
) -> None:
    root, locked = project
    (root / name).chmod(0o644)
    (root / name).write_bytes(b"other")
    output = name.partition("/")[0]
    with pytest.raises(SuiteError, match=rf"/{output}: is not what its lock records"):
        check_pulled(root, [locked])
    assert not (root / output).exists()


def test_a_file_too_many_is_a_difference(project: tuple[Path, LockedStage]) -> None:
    root, locked = project
    shutil.copy(root / "file.bin", root / "folder" / "z")
    with pytest.raises(SuiteError, match="folder: is not what"):
        check_pulled(root, [locked])


def test_an_output_that_did_not_come_is_named(project: tuple[Path, LockedStage]) -> None:
    root, locked = project
    (root / "file.bin").unlink()
    with pytest.raises(SuiteError, match=r"file\.bin: is not .*\(found nothing, expected"):
        check_pulled(root, [locked])
