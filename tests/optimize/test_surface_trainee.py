"""The loop on a surface: it repeats, it resumes, and it says when nothing is left."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.camera.light import albedo_lighting
from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.loop import run
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe, RefineSection
from dreamfusion_kit.records import Cameras, Surface
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
RADIUS = 0.9


class Stops:
    """A monitor that raises after some steps."""

    def __init__(self, after: int | None = None) -> None:
        self.after = after

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None: ...

    def step(self, step: int, metrics: StepMetrics) -> None:
        if step + 1 == self.after:
            raise KeyboardInterrupt

    def note(self, message: str) -> None: ...

    def finish(self) -> None: ...


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the analytic recipe with the toybox's refinement, small."""
    refined = load_recipe(ROOT / "recipes" / "magic3d-toybox.yaml").model_dump(mode="python")
    data = load_recipe(ROOT / "recipes" / "analytic.yaml").model_dump(mode="python")
    section = refined["refine"]
    section["representation"] |= {"resolution": 12, "num_levels": 2}
    section["texture"] |= {"resolution": 8}
    (phase,) = section["phases"]
    texts = ("view_prompts", "negative_prompt")
    phase["guidance"] |= {key: data["guidance"][key] for key in texts}
    phase["camera"] |= {"image_size_px": 16}
    phase["normal_map_probability"] = 0.5
    phase["optimize"] |= {
        "num_steps": 8,
        "batch_size": 2,
        "checkpoint_every_steps": 3,
        "preview_every_steps": 4,
    }
    phase["optimize"]["learning_rate_decay"] |= {"warmup_steps": 2}
    phase["optimize"]["penalties"] |= {"laplacian_lambda": 0.1, "edge_length_lambda": 0.1}
    return Recipe.model_validate(data | {"refine": section})


def _section(recipe: Recipe) -> RefineSection:
    assert recipe.refine is not None
    return recipe.refine


def _trainee(recipe: Recipe, index: int = 0) -> SurfaceTrainee:
    start = Start(
        surface=Surface(torch.eye(3), torch.tensor([[0, 1, 2]])),
        distances=lambda positions: positions.norm(dim=-1) - 0.5,
        colors=lambda positions: 0.5 + 0.3 * positions,
        bounding_radius=RADIUS,
    )
    model = SurfaceModel(_section(recipe), start, seed=0)
    phase = _section(recipe).phases[index]
    return SurfaceTrainee(phase, model, lambda rays, _: torch.ones_like(rays.origins))


def _run(recipe: Recipe, scratch: Scratch, after: int | None = None) -> dict[str, Any]:
    trainee = _trainee(recipe)
    prior = build_prior(recipe.prior, None, CPU)
    prompts = guidance_prompts("a red mug", _section(recipe).phases[0].guidance)
    done = run(
        trainee,
        surface_method(recipe, _section(recipe), 0),
        seed=0,
        prior=prior,
        text=prior.encode_text(list(prompts.values())),
        prompts=prompts,
        scratch=scratch,
        device=CPU,
        monitor=Stops(after),
    )
    return {**trainee.state_tensors(), "history": done.history, "digests": done.digests}


def test_it_repeats_and_resumes_to_the_bit(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole = _run(recipe, make_scratch("whole"))
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        _run(recipe, stopped, after=5)
    again = _run(recipe, stopped)
    assert again["history"] == whole["history"]
    for name, value in whole.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(again[name], value), name
    fresh = _trainee(recipe).state_tensors()
    assert any(not torch.equal(whole[name], value) for name, value in fresh.items())
    previews = [sorted(path.name for path in make_scratch("whole").previews.iterdir())]
    assert previews == [["step_000004.png", "step_000008.png"]]


def test_a_surface_that_vanished_is_named(recipe: Recipe) -> None:
    trainee = _trainee(recipe)
    with torch.no_grad():
        for parameter in trainee.model.representation.parameters():
            parameter.fill_(5.0)
    pose = torch.eye(4)[None]
    one = torch.ones(1)
    cameras = Cameras(pose, 40 * one, one, one, one, 16, 16)
    with pytest.raises(NumericsError, match="step 3: the surface has vanished"):
        trainee.training_views(
            cameras, albedo_lighting(cameras), 3, lambda _: torch.Generator().manual_seed(0)
        )
