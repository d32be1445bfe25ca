"""dvc.yaml is fresh, and lists the code that a stage really loads."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from dreamfusion_kit.stages import pipeline

ROOT = Path(__file__).parents[2]

PRINT_LOADED = """
import importlib, sys
importlib.import_module("dreamfusion_kit.stages.{stage}")
for name, module in sys.modules.items():
    if name.split(".")[0] == "dreamfusion_kit":
        print(module.__file__)
"""


def test_every_dvc_yaml_is_fresh() -> None:
    files = list(pipeline.suite_files(ROOT))
    assert len(files) >= 2
    for target, params in files:
        assert target.read_text() == pipeline.render(params), (
            f"{target} is stale: python -m dreamfusion_kit.stages.pipeline"
        )


@pytest.mark.parametrize("stage", pipeline.STAGES)
def test_code_dependencies_hold_what_the_stage_loads(stage: str) -> None:
    """Python's own list of loaded modules is the oracle; imports inside functions come on top."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_LOADED.format(stage=stage)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {Path(line).resolve().relative_to(ROOT).as_posix() for line in done.stdout.split()}
    listed = set(pipeline.closure(stage, grimp.build_graph(pipeline.PACKAGE)))
    assert loaded <= listed
    assert not {path for path in listed if "kit/cli" in path or "/stages/pipeline" in path}


def test_optimise_does_not_depend_on_what_comes_after() -> None:
    listed = pipeline.closure("optimize", grimp.build_graph(pipeline.PACKAGE))
    for later in ("mesh/", "evaluation/", "report/", "toybox/"):
        assert not [path for path in listed if f"dreamfusion_kit/{later}" in path]
