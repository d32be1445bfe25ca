"""A checkout keeps every byte, whatever Git is told about line ends."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _git(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.eol=crlf"])
def test_checked_out_files_are_the_committed_bytes(setting: str, tmp_path: Path) -> None:
    _git("-c", setting, "checkout-index", "--all", f"--prefix={tmp_path}/")
    entries = [line.split("\t") for line in _git("ls-files", "--stage").splitlines()]
    committed = {name: entry.split()[1] for entry, name in entries if not entry.startswith("12")}
    assert {"Makefile", "dvc.yaml", "scripts/setup.sh", "recipes/toybox.yaml"} <= set(committed)
    paths = "".join(f"{tmp_path}/{name}\n" for name in committed)
    found = _git("hash-object", "--no-filters", "--stdin-paths", stdin=paths).split()
    changed = [
        name
        for (name, digest), on_disk in zip(committed.items(), found, strict=True)
        if digest != on_disk
    ]
    assert changed == []
