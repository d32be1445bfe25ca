"""One lock for a model and what is added to it."""

import hashlib
from pathlib import Path

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import parts
from dreamfusion_kit.recipe.schema import Additions, LocalSourceSection, WeightsFileSection

BASE = LocalSourceSection(kind="local", path="model")


@pytest.fixture
def added(tmp_path: Path) -> Additions:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    found: Additions = {}
    for index, content in enumerate((b"one", b"two")):
        (tmp_path / f"{index}.safetensors").write_bytes(content)
        found[f"loras.{index}"] = WeightsFileSection(
            kind="file", path=f"{index}.safetensors", sha256=hashlib.sha256(content).hexdigest()
        )
    return found


def test_what_is_brought_is_what_is_located(tmp_path: Path, added: Additions) -> None:
    brought = parts.bring(BASE, added, tmp_path, offline=False)
    assert set(brought.lock) == {
        "model_index.json",
        "@loras.0/0.safetensors",
        "@loras.1/1.safetensors",
    }
    assert brought.additions["loras.1"] == tmp_path / "1.safetensors"
    assert parts.locate(BASE, added, tmp_path, brought.lock) == brought


def test_a_changed_addition_is_named(tmp_path: Path, added: Additions) -> None:
    lock = parts.bring(BASE, added, tmp_path, offline=False).lock
    (tmp_path / "1.safetensors").write_bytes(b"xxx")
    with pytest.raises(WeightsError, match=r"1\.safetensors: has the sha256"):
        parts.locate(BASE, added, tmp_path, lock)
    with pytest.raises(WeightsError, match=r"1\.safetensors: has the sha256"):
        parts.bring(BASE, added, tmp_path, offline=False)


def test_a_lock_without_an_addition_is_stale(tmp_path: Path, added: Additions) -> None:
    lock = parts.bring(BASE, {}, tmp_path, offline=False).lock
    with pytest.raises(WeightsError, match="not the one in the lock file"):
        parts.locate(BASE, added, tmp_path, lock)


def test_a_folder_has_to_hold_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    with pytest.raises(WeightsError, match=r"prior\.loras\.0: found 0 safetensors files"):
        parts.weights_file(folder, "loras.0")
    (folder / "a.safetensors").write_bytes(b"")
    assert parts.weights_file(folder, "loras.0") == folder / "a.safetensors"
