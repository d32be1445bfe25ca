"""What cannot be written is refused before anything is measured."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError, FileError
from dreamfusion_kit.stages import toybox_evaluate

CPU = torch.device("cpu")


def test_a_sheet_that_is_no_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DreamFusionKitError, match=r"--sheet sheet\.pn: expected .*\.png"):
        toybox_evaluate.run(tmp_path, CPU, sheet=Path("sheet.pn"))


def test_a_folder_in_the_sheet_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(FileError, match=r"sheet\.png: is a folder"):
        toybox_evaluate.run(tmp_path, CPU, sheet=Path("sheet.png"))
