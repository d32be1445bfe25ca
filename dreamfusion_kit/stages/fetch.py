"""Stage fetch: bring a pretrained model here and write down the hash of every file."""

from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.recipe import suite as suites
from dreamfusion_kit.recipe.judge import directory_reader
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import AnalyticSection, SourceSection
from dreamfusion_kit.stages import files
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout


def run(workspace: Path, suite: str, name: str, *, offline: bool = False) -> Path:
    """Fetch the prior of the recipe `name`, or the CLIP that judges for `clip`.

    `offline` leaves the network alone: see `priors.fetch.fetch`.
    """
    source = _source(workspace, suite, name)
    lock = {} if source is None else fetch.fetch(source, workspace, offline=offline)
    if name == CLIP and source is not None:
        _require_readable_prompts(workspace, suite, fetch.locate(source, workspace, lock))
    target = SuiteLayout(workspace, suite).model(name)
    files.write_json(target, lock)
    return target


def _require_readable_prompts(workspace: Path, suite: str, clip: Path) -> None:
    """Refuse prompts that the judge would truncate: here, not when the finished asset is judged.

    `validate` knows the length of a prompt only where the CLIP was on this machine already.
    """
    if not (clip / "tokenizer.json").is_file():
        return
    reader = directory_reader(clip)
    problems = [
        f"{suites.params_path(workspace, suite)}: assets.{asset}.prompt: {problem}"
        for asset, prompt in suites.load_suite(workspace, suite).prompts.items()
        if (problem := reader.problem(prompt)) is not None
    ]
    if problems:
        raise RecipeError("\n".join(problems))


def _source(workspace: Path, suite: str, name: str) -> SourceSection | None:
    if name == CLIP:
        return suites.load_suite(workspace, suite).evaluation.clip
    prior = load_recipe(workspace / "recipes" / f"{name}.yaml").prior
    return None if isinstance(prior, AnalyticSection) else prior.source
