"""Outputs appear whole or not at all; JSON has the expected form or is refused in one line."""

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, FileError

HOLDER = """
import sys, time
from pathlib import Path
from dreamfusion_kit import files
with files.new_directory(Path(sys.argv[1])) as directory:
    (directory / "half").write_text("half")
    print(directory.name, flush=True)
    time.sleep(600)
"""


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class Facts(TypedDict):
    closed: bool
    area: float
    names: list[str]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- folders


def test_a_directory_replaces_the_old_one_when_it_is_done(tmp_path: Path) -> None:
    target = tmp_path / "mesh"
    target.mkdir()
    (target / "stale").write_text("old")
    with files.new_directory(target) as directory:
        (directory / "fresh").write_text("new")
        assert (target / "stale").exists()
    assert names(target) == ["fresh"]
    assert names(tmp_path) == ["mesh"]


def test_a_failure_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "mesh"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(RuntimeError), files.new_directory(target):
        raise RuntimeError
    assert (target / "kept").read_text() == "old"
    assert names(tmp_path) == ["mesh"]


def _write_many(target: Path, writer: int, rounds: int) -> None:
    for _ in range(rounds):
        with files.new_directory(target) as directory:
            for name in ("a", "b", "c"):
                (directory / name).write_text(str(writer))
        files.write_text(target.with_suffix(".json"), str(writer) * 1000)


def test_writers_of_the_same_outputs_never_meet(tmp_path: Path) -> None:
    """Today's example: two `mesh` of one asset at once shared the name of a partial."""
    target = tmp_path / "mesh"
    writers, rounds = 4, 25
    with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(_write_many, target, writer, rounds) for writer in range(writers)]
        for future in done:
            future.result()
    assert names(tmp_path) == ["mesh", "mesh.json"]
    assert len({(target / name).read_text() for name in names(target)}) == 1
    assert len(set(target.with_suffix(".json").read_text())) == 1


def test_a_dead_writers_partial_is_removed_and_a_running_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / "mesh"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        partial = process.stdout.readline().strip()
        try:
            files.write_text(tmp_path / "other.json", "{}")
            assert names(tmp_path) == sorted([partial, "other.json"])
            process.kill()
            process.wait()
            files.write_text(tmp_path / "other.json", "{}")
            assert names(tmp_path) == ["other.json"]
        finally:
            process.kill()


def test_a_file_of_somebody_else_is_no_partial(tmp_path: Path) -> None:
    mine = tmp_path / ".notes.partial"
    mine.write_text("not the kit's")
    files.write_text(tmp_path / "other.json", "{}")
    assert mine.exists()


# ---- files


def test_a_crash_before_the_rename_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_permissions_stay_and_a_new_file_has_the_umask_s(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        files.write_text(path, "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    files.write_text(path, "newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_is_replaced_and_what_it_names_stays(tmp_path: Path) -> None:
    """DVC can link outputs to its cache."""
    cached, path = tmp_path / "cached", tmp_path / "out.json"
    cached.write_text("cached")
    path.symlink_to(cached)
    files.write_text(path, "new")
    assert (cached.read_text(), path.read_text(), path.is_symlink()) == ("cached", "new", False)


# ---- what is in the way


@pytest.mark.parametrize("kind", ["file", "link to a folder", "broken link", "fifo"])
def test_what_is_in_place_of_a_folder_is_refused_before_the_work(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mesh"
    match kind:
        case "file":
            target.write_text("precious")
        case "link to a folder":
            target.symlink_to(tmp_path)
        case "broken link":
            target.symlink_to(tmp_path / "nowhere")
        case _:
            os.mkfifo(target)
    with pytest.raises(FileError, match=r"mesh: is (a link|not a folder), expected a folder"):
        files.check_writable(target, folder=True)
    with pytest.raises(FileError), files.new_directory(target):
        pytest.fail("the work was done")
    assert names(tmp_path) == ["mesh"]


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(FileError, match=r"text: is a folder, expected a file or nothing"):
        files.check_writable(tmp_path / "text", folder=False)


def test_a_file_in_place_of_a_parent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    for folder in (True, False):
        with pytest.raises(FileError, match=r"out.*: Not a directory; expected a folder"):
            files.check_writable(tmp_path / "out" / "default" / "mesh", folder=folder)


def test_checking_leaves_nothing_but_the_parents(tmp_path: Path) -> None:
    for folder in (True, False):
        files.check_writable(tmp_path / "out" / "mesh", folder=folder)
    assert names(tmp_path / "out") == []


# ---- JSON


def test_json_has_sorted_keys_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "facts.json"
    files.write_json(path, {"b": 1, "a": "é"})
    assert path.read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path, dict[str, Any], made_by="test") == {"a": "é", "b": 1}


def test_missing_json_names_the_stage_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DreamFusionKitError, match=r"written by the score stage; run `dvc repro`"):
        files.read_json(tmp_path / "none.json", Facts, made_by="score")


def test_json_of_the_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"closed": true, "area": 2, "names": ["a"]}')
    assert files.read_json(path, Facts, made_by="mesh") == {
        "closed": True, "area": 2.0, "names": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged (Invalid JSON: EOF while parsing a value at line 1 column 0)"),
        (b'{"closed": tr', "damaged (Invalid JSON: EOF while parsing a value at line 1"),
        (b"\xff\xfe", "damaged (Invalid JSON: "),
        (b'{"closed": true, "area": 2}', "names: missing"),
        (b"{}", "closed: missing (and 2 more)"),
        (b"null", "the whole: found None, expected "),
        (b"[]", "the whole: found [], expected "),
        (b'{"closed": 1, "area": 2, "names": []}', "closed: found 1, expected a valid boolean"),
        (b'{"closed": true, "area": "2", "names": []}', "area: found '2', expected a valid number"),
        (b'{"closed": true, "area": 1e999, "names": []}', "area: found inf, expected a finite"),
        (b'{"closed": true, "area": NaN, "names": []}', "area: found nan, expected a finite"),
        (b'{"closed": true, "area": 2, "names": [1]}', "names.0: found 1, expected a valid string"),
        (b'{"closed": true, "area": 2, "names": [], "x": 1}', "x: unknown key"),
        (
            b'{"closed": true, "area": 2, "names": [], "a\\n\\u202eb": 1}',
            "a\\n\\u202eb: unknown key",
        ),
        (b"[" * 100_000, "damaged (Invalid JSON: recursion limit exceeded"),
        (b"1" * 100_000, "damaged (Invalid JSON: number out of range"),
    ],
    ids=range(16),
)
def test_json_of_another_form_is_refused_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(DreamFusionKitError) as caught:
        files.read_json(path, Facts, made_by="mesh")
    message = str(caught.value)
    assert message.startswith(f"{path}: {said}")
    assert message.endswith("; written by the mesh stage; run `dvc repro`")
    assert message.isprintable()
    assert len(message.removeprefix(str(path))) < 250


def test_a_fifo_a_folder_and_a_huge_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path):
        with pytest.raises(DreamFusionKitError, match="not a regular file"):
            files.read_json(path, Facts, made_by="mesh")
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 1 << 20)
    (tmp_path / "huge").write_bytes(b" " * (2 << 20))
    with pytest.raises(DreamFusionKitError, match=r"cannot be read .found over 1 MiB"):
        files.read_json(tmp_path / "huge", Facts, made_by="mesh")


def test_a_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert files.sha256(tmp_path / "abc") == known


def test_an_unknown_error_number_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a bug"), files.new_directory(tmp_path / "mesh"):
        raise OSError(errno.EINVAL, "a bug")
