"""Entries of dvc.lock as bytes, compared with what YAML makes of the file."""

import pytest
import yaml

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.lock_entries import entries, with_entries

LOCK = b"""\
schema: '2.0'
stages:
  embed@red_mug:
    cmd: exec dreamfusion-kit embed "$DVC_STAGE"
    params:
      kit.json:
        assets.red_mug.embed: 
          a79c78ad57b47756f348e64ad985a98ae026b3478f9035afd239a8606c87e663
  mesh@red_mug:
    cmd: exec dreamfusion-kit mesh "$DVC_STAGE"
    outs:
    - path: out/mesh/red_mug
      hash: md5
      md5: 52eb0c4753b94aa4fd7e984d6b44c9db.dir
      size: 20
      nfiles: 1
"""
HEAD = b"schema: '2.0'\nstages:\n"


def test_entries_are_those_that_yaml_reads() -> None:
    found = entries(LOCK)
    stages = yaml.safe_load(LOCK)["stages"]
    assert list(found) == list(stages)
    for name, entry in found.items():
        assert yaml.safe_load(entry) == {name: stages[name]}
    assert HEAD + b"".join(found.values()) == LOCK


def test_an_entry_goes_where_it_was_and_a_new_one_to_the_end() -> None:
    changed = b"  embed@red_mug:\n    cmd: new\n"
    new = b"  optimize@red_mug:\n    cmd: other\n"
    lock = with_entries(LOCK, {"optimize@red_mug": new, "embed@red_mug": changed})
    mesh = entries(LOCK)["mesh@red_mug"]
    assert lock == HEAD + changed + mesh + new
    assert with_entries(lock, entries(LOCK)) == HEAD + b"".join(entries(LOCK).values()) + new


def test_a_missing_lock_has_no_entries() -> None:
    assert entries(b"") == {}
    assert with_entries(b"", entries(LOCK)) == LOCK


def test_an_entry_without_its_last_newline_is_closed() -> None:
    assert with_entries(LOCK[:-1], {}) == LOCK


@pytest.mark.parametrize(
    "text", [b"stages: {}\n", b"\0" * 20, HEAD[:-3], HEAD + b"    cmd: x\n  embed:\n    cmd: y\n"]
)
def test_what_dvc_does_not_write_is_refused(text: bytes) -> None:
    with pytest.raises(SuiteError, match=r"^dvc\.lock: "):
        entries(text)
