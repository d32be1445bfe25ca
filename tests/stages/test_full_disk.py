"""A stage that cannot write ends in one line, and loses nothing.

A limit on the size of files stands for a full disk: the writes fail in the same places, in
whatever library makes them, and no other process notices.
"""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dreamfusion_kit import front_door
from dreamfusion_kit.stages import embed, mesh, optimize
from dreamfusion_kit.stages.layout import SuiteLayout

CPU = torch.device("cpu")


@contextmanager
def limited_file_size(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cost" not in path.parts
    }


@pytest.mark.parametrize("size_bytes", [0, 100, 3000, 20_000])
@pytest.mark.parametrize("stage", [embed, optimize, mesh], ids=["embed", "optimize", "mesh"])
def test_a_full_disk_is_one_line_and_loses_nothing(
    made: Path, stage: ModuleType, size_bytes: int
) -> None:
    mesh.run(made, "default", "mug", CPU)
    out = SuiteLayout(made, "default").root
    before = contents(out)
    with limited_file_size(size_bytes):
        try:
            stage.run(made, "default", "mug", CPU)
        except Exception as error:
            message = front_door.explain(error)
        else:
            message = "all files are smaller"
    assert message is not None, "a traceback"
    assert message.isprintable()
    if message != "all files are smaller":
        assert "File too large; raise the limit" in message
    assert contents(out) == before
    assert [path for path in made.rglob("*.partial") if "checkpoints" not in path.parts] == []
    stage.run(made, "default", "mug", CPU)
    assert contents(out) == before
