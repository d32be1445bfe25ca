"""Stage fetch: bring a pretrained model here and write down the hash of every file."""

from pathlib import Path

from dreamfusion_kit.priors import fetch
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import SourceSection
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import files
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout


def run(workspace: Path, suite: str, name: str, *, offline: bool = False) -> Path:
    """Fetch the prior of the recipe `name`, or the evaluation's CLIP for `clip`.

    `offline` leaves the network alone: see `priors.fetch.fetch`.
    """
    source = _source(workspace, suite, name)
    lock = {} if source is None else fetch.fetch(source, workspace, offline=offline)
    target = SuiteLayout(workspace, suite).model(name)
    files.write_json(target, lock)
    return target


def _source(workspace: Path, suite: str, name: str) -> SourceSection | None:
    if name == CLIP:
        return load_suite(workspace, suite).evaluation.clip
    return load_recipe(workspace / "recipes" / f"{name}.yaml").prior.source
