"""Steps of priors are counted once each, and two that differ are never taken for one."""

from pathlib import Path

import pytest

from dreamfusion_kit.memory import prior_steps
from dreamfusion_kit.memory.advice import with_key
from dreamfusion_kit.memory.prior import PriorMemory
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the list of the sections that are counted from now on, each as its index."""
    found: list[object] = []

    def count(section: object, *_: object, **__: object) -> PriorMemory:
        found.append(section)
        return PriorMemory(denoiser=len(found))

    monkeypatch.setattr(prior_steps, "prior_memory", count)
    return found


def all_stages(priors: PriorSteps, recipe: Recipe) -> list[int]:
    phases = () if recipe.refine is None else recipe.refine.phases
    steps = [priors.first(recipe), *(priors.of_phase(recipe, phase) for phase in phases)]
    return [step.denoiser for step in steps]


def test_stages_that_ask_alike_share_a_count(counted: list[object]) -> None:
    """ProlificDreamer's texture is learned as its field is; its geometry by SDS."""
    recipe = load_recipe(RECIPES / "prolificdreamer.yaml")
    priors = PriorSteps({})
    assert all_stages(priors, recipe) == [1, 2, 1]
    assert all_stages(priors, with_key(recipe, "prior.cpu_offload", True)) == [1, 2, 1]
    assert len(counted) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prior.vae_dtype", "bfloat16"),
        ("prior.image_size_px", 256),
        ("guidance.phi.rank", 2),
        ("guidance.phi.source", None),
        ("optimize.batch_size", 2),
        ("camera.image_size_px", 256),
    ],
)
def test_what_decides_the_memory_is_counted_again(
    key: str, value: object, counted: list[object]
) -> None:
    recipe = load_recipe(RECIPES / "prolificdreamer.yaml")
    if key == "guidance.phi.source":
        recipe = with_key(recipe, "guidance.phi.loss", "epsilon")
    priors = PriorSteps({})
    before = priors.first(recipe)
    assert priors.first(with_key(recipe, key, value)) != before
    assert len(counted) == 2


def test_more_texts_are_counted_again(counted: list[object]) -> None:
    plain = load_recipe(RECIPES / "toybox.yaml")
    pushed = plain.model_copy(
        update={"guidance": load_recipe(RECIPES / "toybox-perp-neg.yaml").guidance}
    )
    priors = PriorSteps({})
    assert priors.first(pushed) != priors.first(plain)
    assert len(counted) == 2


def test_a_refinement_s_own_prior_has_its_own_configurations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe(RECIPES / "magic3d.yaml")
    assert recipe.refine is not None
    monkeypatch.setattr(
        prior_steps,
        "prior_memory",
        lambda section, guidance, parts, **_: PriorMemory(denoiser=parts["unet"]["size"]),
    )
    priors = PriorSteps({"unet": {"size": 1}, "refine.prior/unet": {"size": 2}})
    assert priors.first(recipe).denoiser == 1
    assert priors.of_phase(recipe, recipe.refine.phases[0]).denoiser == 2
