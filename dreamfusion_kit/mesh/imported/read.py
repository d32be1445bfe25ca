"""Reads a model's file through a process that may fail, hang or be killed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported.parse import MAX_SECONDS, REFUSED
from dreamfusion_kit.mesh.imported.raw import RawModel

_GRACE_SECONDS = 30  # beyond the processor time that the parser may take


def read_raw(folder: Path, file: str, *, shown_as: Path | None = None) -> RawModel:
    """Return the model in `folder / file`.

    Args:
        folder: Holds the model and all that it refers to.
        file: Its path in there.
        shown_as: The path that messages name, if another one.

    Raises:
        MeshError: for whatever the parser does not get through, in one line.
    """
    where = shown_as or folder / file
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as temporary:
        out = Path(temporary) / "model.npz"
        command = [sys.executable, "-m", "dreamfusion_kit.mesh.imported.parse"]
        try:
            done = subprocess.run(
                [*command, str(folder), file, str(out)],
                capture_output=True,
                check=False,
                timeout=MAX_SECONDS + _GRACE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise MeshError(_not_read(where, "took too long")) from None
        if done.returncode == REFUSED:
            raise MeshError(f"{where}: {json.loads(done.stdout.splitlines()[-1])}")
        if done.returncode != 0 or not out.is_file():
            raise MeshError(_not_read(where, f"ended the parser (status {done.returncode})"))
        return RawModel.load(out)


def _not_read(where: Path, why: str) -> str:
    return f"{where}: {why}; expected a GLB, glTF, OBJ, PLY or STL; export it again"
