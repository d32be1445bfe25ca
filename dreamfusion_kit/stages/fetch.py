"""Stage fetch: bring a pretrained model to this machine and record the hash of every file."""

from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors import additions, fetch, model_files
from dreamfusion_kit.priors.question_answerer import check_question_answerer
from dreamfusion_kit.priors.transformer_files import diffuses
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.evaluation import SINGLE_JUDGE, VQA
from dreamfusion_kit.recipe.judge import directory_reader
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import load_protocol, load_suite
from dreamfusion_kit.recipe.workspace import recipe_file, suite_file
from dreamfusion_kit.stages import locked
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout


def run(workspace: Path, suite: str, name: str, *, offline: bool = False) -> Path:
    """Fetch the prior of the recipe `name`; for `clip`, the models that judge.

    The model's own files are checked here, before anything computes with them.
    `offline` uses no network: see `priors.fetch.bring`.
    """
    target = SuiteLayout(workspace, suite).model(name)
    files.check_writable(target, folder=False)
    if name == CLIP:
        lock = _fetch_judges(workspace, suite, offline=offline)
    else:
        recipe = load_recipe(recipe_file(workspace, name))
        fetched = fetch_prior(recipe, workspace, offline=offline)
        lock = {} if fetched is None else fetched.lock
    files.write_json(target, lock)
    return target


def fetch_prior(recipe: schema.Recipe, workspace: Path, *, offline: bool) -> additions.Model | None:
    """Bring a recipe's prior to this machine, check its files, and return where they are.

    None for a prior without files. `offline` uses no network: see `priors.fetch.bring`.

    Raises:
        WeightsError: if the files are not available, or are not those of the recipe's prior.
        RecipeError: if the guidance cannot work with the prior's schedule.
    """
    prior = recipe.prior
    if prior.source is None:
        return None
    fetched = additions.bring(prior.source, prior.additions, workspace, offline=offline)
    model_files.check_model(prior, fetched.directory)
    _check_additions(prior, fetched)
    _refuse_pure_noise(recipe, fetched.directory)
    return fetched


def _check_additions(prior: schema.PriorSection, fetched: additions.Model) -> None:
    """Raise WeightsError where a LoRA, a learned word or a VAE belongs to another model."""
    if not prior.additions or isinstance(
        prior, schema.PixelUnetSection | schema.ClipPriorSection | schema.AnalyticSection
    ):
        return
    if isinstance(prior, schema.MultiViewUnetSection):
        from dreamfusion_kit.priors.multi_view_unet import check_view_weights

        check_view_weights(fetched.directory, fetched.additions["view_weights"])
        return
    # Imported here: it loads torch and diffusers, and only these checks need them.
    from dreamfusion_kit.priors.adapted import Adapted

    Adapted(prior, fetched.directory, fetched.additions).check()


def _fetch_judges(workspace: Path, suite: str, *, offline: bool) -> fetch.Lock:
    protocol = load_protocol(workspace, suite)
    locks: dict[str, fetch.Lock] = {}
    for name, source in protocol.sources.items():
        directory, locks[name] = fetch.bring(source, workspace, offline=offline)
        if name == VQA:
            check_question_answerer(directory)
        else:
            model_files.check_clip(directory)
            _require_readable_prompts(workspace, suite, directory)
    return locks.get(SINGLE_JUDGE, {}) if protocol.is_plain else locked.joined(locks)


def _refuse_pure_noise(recipe: schema.Recipe, directory: Path) -> None:
    """Raise RecipeError if a guidance divides by the signal at a timestep that has none."""
    prior = recipe.prior
    has_betas = isinstance(
        prior, schema.PixelUnetSection | schema.LatentUnetSection | schema.MultiViewUnetSection
    ) or (isinstance(prior, schema.LatentTransformerSection) and diffuses(directory))
    dividing = {
        place: guidance
        for place, guidance in recipe.guidances.items()
        if isinstance(guidance, schema.ScoreGuidanceSection) and guidance.divides_by_signal
    }
    if not has_betas or not dividing:
        return
    # Imported here: torch and diffusers take seconds to import, and only this check needs them.
    import torch

    from dreamfusion_kit.guidance.pure_noise import refuse_pure_noise
    from dreamfusion_kit.priors.directory import load_schedule

    schedule, _ = load_schedule(directory, torch.device("cpu"))
    for place, guidance in dividing.items():
        refuse_pure_noise(guidance, schedule, place=place)


def _require_readable_prompts(workspace: Path, suite: str, clip: Path) -> None:
    """Refuse prompts that the judge would truncate: now, not when the finished asset is judged.

    `validate` knows the length of a prompt only if the CLIP is already on this machine.
    """
    if not (clip / "tokenizer.json").is_file():
        return
    reader = directory_reader(clip)
    problems = [
        f"{suite_file(workspace, suite)}: assets.{asset}.prompt: {problem}"
        for asset, prompt in load_suite(workspace, suite).prompts.items()
        if (problem := reader.problem(prompt)) is not None
    ]
    if problems:
        raise RecipeError("\n".join(problems))
