"""Stage fetch: bring a pretrained model to this machine and record the hash of every file."""

from collections.abc import Mapping
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.config import model_files
from dreamfusion_kit.priors.config.question_answerer import check_question_answerer
from dreamfusion_kit.priors.config.transformer_files import diffuses
from dreamfusion_kit.priors.source import fetch, parts
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.evaluation import SINGLE_JUDGE, VQA
from dreamfusion_kit.recipe.judge import directory_reader
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import load_protocol, load_suite
from dreamfusion_kit.recipe.workspace import recipe_file, suite_file
from dreamfusion_kit.stages import locked
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout


def run(workspace: Path, suite: str, name: str, *, offline: bool = False) -> Path:
    """Fetch the models of the recipe `name`; for `clip`, those that judge.

    The model's own files are checked here, before anything computes with them.
    `offline` uses no network: see `priors.source.fetch.bring`.
    """
    target = SuiteLayout(workspace, suite).model(name)
    files.check_writable(target, folder=False)
    if name == CLIP:
        lock = _fetch_judges(workspace, suite, offline=offline)
    else:
        recipe = load_recipe(recipe_file(workspace, name))
        lock = joined_lock(fetch_models(recipe, workspace, offline=offline))
    files.write_json(target, lock)
    return target


def fetch_models(
    recipe: schema.Recipe, workspace: Path, *, offline: bool
) -> dict[str, parts.Model]:
    """Bring a recipe's models to this machine, check their files, and return where they are.

    They have the keys of `Recipe.models`; a prior without files has none here. `offline` uses no
    network: see `priors.source.fetch.bring`.

    Raises:
        WeightsError: if files are not available, or are not those of the recipe's models.
        RecipeError: if a guidance cannot work with its prior's schedule, or phi's network not
            with the prior.
    """
    found: dict[str, parts.Model] = {}
    lent = {f"{key}.phi" for key in recipe.guidances}
    for key, section in recipe.models.items():
        if section.source is None:
            continue
        found[key] = parts.bring(section.source, section.additions, workspace, offline=offline)
        if key not in lent:
            model_files.check_model(section, found[key].directory)
            _check_additions(section, found[key])
    for key in recipe.guidances:
        prior = recipe.prior_of(key)
        if prior.source is not None:
            directory = found[recipe.prior_key(key)].directory
            _refuse_pure_noise(key, recipe.guidances[key], prior, directory)
            _check_phi(recipe, key, found)
    return found


def joined_lock(found: Mapping[str, parts.Model]) -> Lock:
    """Return the lock of all models of a recipe."""
    own = found["prior"].lock if "prior" in found else {}
    return parts.joined(own, {k: model.lock for k, model in found.items() if k != "prior"})


def _check_phi(recipe: schema.Recipe, key: str, found: Mapping[str, parts.Model]) -> None:
    """Raise RecipeError if the other network of a guidance's phi does not go with its prior."""
    if recipe.phi_of(key) is None:
        return
    # Imported here: torch and diffusers take seconds to import, and only this check needs them.
    import torch

    from dreamfusion_kit.priors.directory import load_schedule
    from dreamfusion_kit.priors.phi.lent import check_lent, check_timesteps

    place, cpu = f"{key}.phi.source", torch.device("cpu")
    own = found[recipe.prior_key(key)].directory
    lent = found[f"{key}.phi"].directory
    check_lent(own, lent, place)
    check_timesteps(load_schedule(own, cpu)[0], load_schedule(lent, cpu)[0], place)


def _check_additions(prior: schema.PriorSection, fetched: parts.Model) -> None:
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
    from dreamfusion_kit.priors.addition.adapted import Adapted
    from dreamfusion_kit.priors.additions_check import check_additions

    check_additions(Adapted(prior, fetched.directory, fetched.additions))


def _fetch_judges(workspace: Path, suite: str, *, offline: bool) -> Lock:
    protocol = load_protocol(workspace, suite)
    locks: dict[str, Lock] = {}
    for name, source in protocol.sources.items():
        directory, locks[name] = fetch.bring(source, workspace, offline=offline)
        if name == VQA:
            check_question_answerer(directory)
        else:
            model_files.check_clip(directory)
            _require_readable_prompts(workspace, suite, directory)
    return locks.get(SINGLE_JUDGE, {}) if protocol.is_plain else locked.joined(locks)


def _refuse_pure_noise(
    place: str, guidance: schema.GuidanceSection, prior: schema.PriorSection, directory: Path
) -> None:
    """Raise RecipeError if a guidance divides by the signal at a timestep that has none."""
    has_betas = isinstance(
        prior, schema.PixelUnetSection | schema.LatentUnetSection | schema.MultiViewUnetSection
    ) or (isinstance(prior, schema.LatentTransformerSection) and diffuses(directory))
    if not isinstance(guidance, schema.ScoreGuidanceSection):
        return
    if not (has_betas and guidance.divides_by_signal):
        return
    # Imported here: torch and diffusers take seconds to import, and only this check needs them.
    import torch

    from dreamfusion_kit.guidance.pure_noise import refuse_pure_noise
    from dreamfusion_kit.priors.directory import load_schedule

    schedule, _ = load_schedule(directory, torch.device("cpu"))
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
