"""Phases of a refinement: what each changes, and that they resume to the bit, wherever killed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize import phases
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.phases import Guide, Phase, run_phases
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe, RefineSection
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STEPS = (5, 4)


class Watches:
    """A monitor that keeps what it was told, and raises after some steps in all."""

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.started: list[tuple[int, int]] = []
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.finished = 0

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        self.started.append((len(history), num_steps))

    def step(self, step: int, metrics: StepMetrics) -> None:
        self.steps.append(step)
        if step + 1 == self.after:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the analytic recipe with two phases: the geometry by normals, then the texture."""
    section = load_recipe(ROOT / "recipes" / "magic3d-toybox.yaml").model_dump(mode="python")
    data = load_recipe(ROOT / "recipes" / "analytic.yaml").model_dump(mode="python")
    refine = section["refine"]
    refine["representation"] |= {"resolution": 12, "num_levels": 2}
    refine["texture"] |= {"resolution": 8}
    (phase,) = refine["phases"]
    phase["guidance"] |= {"view_prompts": data["guidance"]["view_prompts"]}
    phase["camera"] |= {"image_size_px": 16}
    refine["phases"] = (
        _phase(phase, STEPS[0], "geometry", normals=1.0),
        _phase(phase, STEPS[1], "texture", normals=0.0),
    )
    return Recipe.model_validate(data | {"refine": refine})


def _phase(phase: dict[str, Any], num_steps: int, learns: str, *, normals: float) -> dict[str, Any]:
    rates = phase["optimize"]["learning_rate_decay"] | {"warmup_steps": 1}
    smooth = 0.1 if learns == "geometry" else 0.0
    loop = phase["optimize"] | {
        "num_steps": num_steps,
        "learning_rate_decay": rates,
        "checkpoint_every_steps": 2,
        "preview_every_steps": 3,
        "penalties": phase["optimize"]["penalties"] | {"normal_consistency_lambda": smooth},
    }
    shading = phase["shading"] | {"textureless_probability": 0.0}
    changed = {"learns": learns, "normal_map_probability": normals, "shading": shading}
    return phase | changed | {"optimize": loop}


def _refine(recipe: Recipe) -> RefineSection:
    assert recipe.refine is not None
    return recipe.refine


def _model(recipe: Recipe) -> SurfaceModel:
    start = Start(
        surface=Surface(torch.eye(3), torch.tensor([[0, 1, 2]])),
        distances=lambda positions: positions.norm(dim=-1) - 0.5,
        colors=lambda positions: 0.5 + 0.3 * positions,
        bounding_radius=0.9,
    )
    return SurfaceModel(_refine(recipe), start, seed=0)


def _phases(recipe: Recipe, model: SurfaceModel, begun: list[int]) -> list[Phase]:
    prior = build_prior(recipe.prior, None, CPU)

    def phase(index: int) -> Phase:
        section = _refine(recipe).phases[index]
        prompts = guidance_prompts("a red mug", section.guidance)

        def guide() -> Guide:
            begun.append(index)
            return Guide(prior, None, prior.encode_text(list(prompts.values())), prompts)

        return Phase(
            name=f"learns {section.learns}",
            method=surface_method(recipe, _refine(recipe), index),
            trainee=lambda: SurfaceTrainee(
                section, model, lambda rays, _: torch.ones_like(rays.origins)
            ),
            guide=guide,
        )

    return [phase(index) for index in range(len(_refine(recipe).phases))]


def _run(
    recipe: Recipe, scratch: Scratch, after: int | None = None
) -> tuple[dict[str, Any], Watches, list[int]]:
    model, watches, begun = _model(recipe), Watches(after), list[int]()
    parts = _phases(recipe, model, begun)
    done = run_phases(parts, seed=3, scratch=scratch, device=CPU, monitor=watches)
    pictures = {name: path.read_bytes() for name, path in phases.previews(scratch, parts).items()}
    state = {**model.state_dict(), "history": done.history, "digests": done.digests}
    return {**state, "pictures": pictures}, watches, begun


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(
        torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
        for name, value in a.items()
    )


@pytest.mark.parametrize("after", [1, 3, STEPS[0], STEPS[0] + 1, sum(STEPS)])
def test_phases_resume_to_the_bit_inside_and_between(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], after: int
) -> None:
    whole, watches, begun = _run(recipe, make_scratch("whole"))
    assert watches.started == [(0, sum(STEPS))]
    assert watches.steps == list(range(sum(STEPS)))
    assert watches.notes == ["phase 1 of 2: learns geometry", "phase 2 of 2: learns texture"]
    assert watches.finished == 1
    assert begun == [0, 1]
    assert list(whole["pictures"]) == [f"step_{step:06d}.png" for step in (3, 5, 8, 9)]
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        _run(recipe, stopped, after=after)
    again, watches, begun = _run(recipe, stopped)
    assert _equal(whole, again)
    if after > STEPS[0]:
        # The first phase is read from its checkpoint, and what guided it is not loaded again.
        assert begun == [1]
    (first, total), *others = watches.started
    assert not others
    assert total == sum(STEPS)
    assert watches.steps == list(range(first, sum(STEPS)))


def test_a_finished_run_is_read_without_any_model(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    scratch = make_scratch("whole")
    whole, *_ = _run(recipe, scratch)
    again, watches, begun = _run(recipe, scratch)
    assert _equal(whole, again)
    assert begun == []
    assert (watches.started, watches.finished) == ([(sum(STEPS), sum(STEPS))], 1)


def test_each_phase_changes_what_it_learns_and_nothing_else(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    start = _model(recipe).state_dict()
    first = recipe.model_copy(
        update={"refine": _refine(recipe).model_copy(update={"phases": _refine(recipe).phases[:1]})}
    )
    after_one, *_ = _run(first, make_scratch("one"))
    after_both, *_ = _run(recipe, make_scratch("both"))
    grids = [name for name in start if name.startswith("representation.levels")]
    assert grids
    for name in grids:
        assert not torch.equal(start[name], after_one[name])
        assert torch.equal(after_one[name], after_both[name])
    assert torch.equal(start["texture.albedo"], after_one["texture.albedo"])
    assert not torch.equal(start["texture.albedo"], after_both["texture.albedo"])
    # A second phase draws other views than the first, though its steps are counted from 0.
    assert after_both["digests"][0, 0] != after_both["digests"][STEPS[0], 0]


def test_a_run_that_dies_names_the_phase_and_its_keys(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    phase = _refine(recipe).phases[1]
    strict = {"check_every_steps": 1, "after_step": 1, "min_opacity": 0.9, "max_opacity": 0.95}
    watchdog = phase.optimize.watchdog.model_copy(update=strict)
    loop = phase.optimize.model_copy(update={"watchdog": watchdog})
    changed = (_refine(recipe).phases[0], phase.model_copy(update={"optimize": loop}))
    dying = recipe.model_copy(
        update={"refine": _refine(recipe).model_copy(update={"phases": changed})}
    )
    with pytest.raises(NumericsError) as caught:
        _run(dying, make_scratch("dying"))
    message = str(caught.value)
    assert message.startswith("refine.phases[1]: step 1: mean opacity")
    assert "(refine.phases[1].optimize.watchdog.min_opacity)" in message
    assert "field" not in message
