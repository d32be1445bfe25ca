"""Stage fetch: bring a pretrained model here and write down the hash of every file."""

from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import AnalyticSection, SourceSection
from dreamfusion_kit.recipe.suite import load_protocol
from dreamfusion_kit.recipe.workspace import recipe_file
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout


def run(workspace: Path, suite: str, name: str, *, offline: bool = False) -> Path:
    """Fetch the prior of the recipe `name`, or the evaluation's CLIP for `clip`.

    `offline` leaves the network alone: see `priors.fetch.fetch`.
    """
    source = _source(workspace, suite, name)
    target = SuiteLayout(workspace, suite).model(name)
    files.check_writable(target, folder=False)
    lock = {} if source is None else fetch.fetch(source, workspace, offline=offline)
    files.write_json(target, lock)
    return target


def _source(workspace: Path, suite: str, name: str) -> SourceSection | None:
    if name == CLIP:
        return load_protocol(workspace, suite).clip
    prior = load_recipe(recipe_file(workspace, name)).prior
    return None if isinstance(prior, AnalyticSection) else prior.source
