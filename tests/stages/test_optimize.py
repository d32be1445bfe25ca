"""The scratch's key covers the code that decides a field."""

from pathlib import Path

import grimp

from dreamfusion_kit.stages import optimize, pipeline

# What an optimisation imports besides, and no bit of the field depends on.
NO_PART_OF_THE_RESULT = {"__init__.py", "errors.py", "provenance.py", "stages"}


def test_a_checkpoint_belongs_to_all_the_code_that_decides_the_field() -> None:
    imported = pipeline.closure("optimize", grimp.build_graph(pipeline.PACKAGE))
    rooms = {Path(path).relative_to(pipeline.PACKAGE).parts[0] for path in imported}
    assert set(optimize.CODE) == rooms - NO_PART_OF_THE_RESULT
