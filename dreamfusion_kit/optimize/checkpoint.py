"""Checkpoints of a run that may be killed at any moment, in a scratch keyed by its inputs.

A checkpoint is one safetensors file that is either whole or absent: it is written beside its
final path, synced and renamed, then the directory is synced. The previous one is kept. Its
header carries the key of the inputs and a hash of the tensors, so that a file from other
inputs or a damaged one is recognised.
"""

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dreamfusion_kit import files
from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.optimize import lock

FORMAT_VERSION = 1
_NUM_KEPT = 2


@dataclass(frozen=True)
class Scratch:
    """The working directory of one run; `key` is the hash of everything it depends on."""

    directory: Path
    key: str

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def previews(self) -> Path:
        """Return the folder of the preview images."""
        return self.directory / "previews"

    @property
    def live(self) -> Path:
        """Return the folder of the curves."""
        return self.directory / "live"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps; `seconds` is the time they took, over all resumptions."""

    step: int
    seconds: float
    tensors: Mapping[str, Tensor]


@contextmanager
def open_scratch(work: Path, key: str) -> Generator[Scratch, None, None]:
    """Hold the scratch `work / key`, created if needed; CheckpointError if another run holds it."""
    scratch = Scratch(work / key, key)
    scratch.directory.mkdir(parents=True, exist_ok=True)
    with lock.hold(scratch.directory / "lock"):
        for directory in (scratch.checkpoints, scratch.previews, scratch.live):
            directory.mkdir(parents=True, exist_ok=True)
        for unfinished in scratch.directory.rglob("*.partial"):
            unfinished.unlink()
        yield scratch


def remove_scratch(scratch: Scratch) -> None:
    """Remove a scratch whose results were copied out; call this while holding it."""
    shutil.rmtree(scratch.directory)


def save_checkpoint(scratch: Scratch, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then delete all but it and the previous one."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    header = {
        "format_version": FORMAT_VERSION,
        "key": scratch.key,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "sha256": _digest(tensors),
    }
    content = save(tensors, metadata={"checkpoint": json.dumps(header)})
    files.write_bytes(_path(scratch, checkpoint.step), content)
    older = [path for path in _paths(scratch) if path <= _path(scratch, checkpoint.step)]
    for path in set(_paths(scratch)) - set(older[-_NUM_KEPT:]):
        path.unlink()


def load_checkpoint(scratch: Scratch) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest readable checkpoint of the key, and why newer ones were skipped."""
    complaints: list[str] = []
    for path in reversed(_paths(scratch)):
        try:
            return _read(path, scratch.key), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    return None, complaints


def _path(scratch: Scratch, step: int) -> Path:
    return scratch.checkpoints / f"step_{step:08d}.safetensors"


def _paths(scratch: Scratch) -> list[Path]:
    return sorted(scratch.checkpoints.glob("step_*.safetensors"))


def _read(path: Path, key: str) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        found = (header["format_version"], header["key"])
        if found != (FORMAT_VERSION, key):
            raise CheckpointError(f"{path.name}: belongs to other inputs or another version")
        if header["sha256"] != _digest(tensors):
            raise CheckpointError(f"{path.name}: damaged, its tensors are not those written")
        return Checkpoint(header["step"], header["seconds"], tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path.name}: damaged ({error})") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names and bytes; safetensors itself has none."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
