"""Checkpoints: whole or absent, of the right inputs, the previous one kept."""

import os
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.optimize.checkpoint import (
    Checkpoint,
    Scratch,
    load_checkpoint,
    open_scratch,
    remove_scratch,
    save_checkpoint,
)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    with open_scratch(tmp_path / "work", "a" * 64) as opened:
        return opened


def checkpoint(step: int) -> Checkpoint:
    grid = torch.arange(24.0).reshape(2, 3, 4) + step
    tensors = {
        "field/grid": grid.transpose(0, 2),  # not contiguous
        "optimizer/0/step": torch.tensor(float(step)),
        "occupancy/occupied": torch.tensor([True, False]),
        "history": torch.zeros(0, 5, dtype=torch.float64),
    }
    return Checkpoint(step, seconds=1.5, tensors=tensors)


def newest(scratch: Scratch) -> Path:
    return sorted(scratch.checkpoints.iterdir())[-1]


def test_what_is_saved_comes_back(scratch: Scratch) -> None:
    saved = checkpoint(10)
    save_checkpoint(scratch, saved)
    loaded, complaints = load_checkpoint(scratch)
    assert loaded is not None
    assert complaints == []
    assert (loaded.step, loaded.seconds) == (10, 1.5)
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


def test_an_empty_scratch_has_none(scratch: Scratch) -> None:
    assert load_checkpoint(scratch) == (None, [])


def test_two_are_kept(scratch: Scratch) -> None:
    for step in (10, 20, 30):
        save_checkpoint(scratch, checkpoint(step))
    names = sorted(path.name for path in scratch.checkpoints.iterdir())
    assert names == ["step_00000020.safetensors", "step_00000030.safetensors"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "one bit", "noise"])
def test_a_damaged_one_falls_back_and_says_so(scratch: Scratch, damage: str) -> None:
    save_checkpoint(scratch, checkpoint(10))
    save_checkpoint(scratch, checkpoint(20))
    content = bytearray(newest(scratch).read_bytes())
    content[-20] ^= 1
    damaged = {
        "empty": b"",
        "truncated": bytes(content[:-30]),
        "one bit": bytes(content),
        "noise": os.urandom(500),
    }
    newest(scratch).write_bytes(damaged[damage])
    loaded, complaints = load_checkpoint(scratch)
    assert loaded is not None
    assert loaded.step == 10
    assert len(complaints) == 1
    assert complaints[0].startswith("step_00000020.safetensors: damaged")


def test_after_a_fall_back_the_damaged_one_goes_and_the_good_one_stays(scratch: Scratch) -> None:
    for step in (10, 20):
        save_checkpoint(scratch, checkpoint(step))
    newest(scratch).write_bytes(b"")
    save_checkpoint(scratch, checkpoint(15))
    steps = sorted(path.name[5:13] for path in scratch.checkpoints.iterdir())
    assert steps == ["00000010", "00000015"]


def test_one_of_other_inputs_is_not_used(scratch: Scratch) -> None:
    save_checkpoint(scratch, checkpoint(10))
    loaded, complaints = load_checkpoint(Scratch(scratch.directory, "b" * 64))
    assert loaded is None
    assert complaints == ["step_00000010.safetensors: belongs to other inputs or another version"]


def test_opening_sweeps_what_a_crash_left(tmp_path: Path) -> None:
    with open_scratch(tmp_path, "key") as scratch:
        (scratch.checkpoints / "step_00000010.safetensors.partial").write_bytes(b"half")
    with open_scratch(tmp_path, "key") as scratch:
        assert list(scratch.checkpoints.iterdir()) == []


def test_a_held_scratch_is_refused_and_a_removed_one_is_not(tmp_path: Path) -> None:
    with open_scratch(tmp_path, "key") as scratch:
        with (
            pytest.raises(CheckpointError, match=f"key: process {os.getpid()} is running"),
            open_scratch(tmp_path, "key"),
        ):
            pass
        remove_scratch(scratch)
    assert list(tmp_path.iterdir()) == []
    with open_scratch(tmp_path, "key"):
        pass
