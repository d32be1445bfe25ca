"""Locks of models: what they hold, and which files they refuse."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import model_lock


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return a directory with two files to lock and one that is never read."""
    directory = tmp_path / "made"
    (directory / "unet").mkdir(parents=True)
    (directory / "unet/model.safetensors").write_bytes(b"12345678")
    (directory / "config.json").write_text("{}")
    (directory / "unet/model.bin").write_bytes(b"a pickle")
    return directory


def test_a_lock_holds_hash_and_size_by_path(made: Path) -> None:
    assert model_lock.lock_of(made) == {
        "config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2},
        "unet/model.safetensors": {
            "sha256": hashlib.sha256(b"12345678").hexdigest(),
            "size_bytes": 8,
        },
    }
    assert model_lock.checked(model_lock.lock_of(made)) == model_lock.lock_of(made)


def test_what_was_made_is_what_was_locked(made: Path) -> None:
    lock = model_lock.lock_of(made)
    model_lock.verify_made(made, lock)
    (made / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match=r"^made/config.json: is another file; expected"):
        model_lock.verify_made(made, lock)
    (made / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"^made/config.json: is missing; expected"):
        model_lock.verify_made(made, lock)


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "missing"), (b"123", "3 bytes, not 8"), (b"12345679", "with other bytes")],
)
def test_the_first_file_that_differs_is_named(
    made: Path, content: bytes | None, found: str
) -> None:
    lock = model_lock.lock_of(made)
    file = made / "unet/model.safetensors"
    files = {"config.json": made / "config.json", "unet/model.safetensors": file}
    model_lock.verify(made, files, lock)
    if content is None:
        del files["unet/model.safetensors"]
    else:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^made/unet/model.safetensors: is .*{found}"):
        model_lock.verify(made, files, lock)


@pytest.mark.parametrize(
    "lock",
    [
        None,
        [],
        {"unet/config.json": None},
        {"unet/config.json": {}},
        {"unet/config.json": {"sha256": 3, "size_bytes": 2}},
        {"unet/config.json": {"sha256": "0" * 64, "size_bytes": "2"}},
        {"unet/config.json": {"sha256": "0" * 63, "size_bytes": 2}},
        {"unet/config.json": {"sha256": "0" * 64, "size_bytes": 2, "more": 1}},
    ],
)
def test_a_lock_that_is_not_one_is_refused(lock: Any) -> None:
    with pytest.raises(WeightsError, match=r"^lock file of a model: .*run the fetch stage again"):
        model_lock.checked(lock)
