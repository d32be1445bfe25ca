"""The loop on the analytic prior, run whole or stopped, as the tests of this folder need it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.loop import OptimizedModel, optimize
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import GuidanceSection, Recipe

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NUM_STEPS = 24
CHECKPOINT_EVERY = 5


class Silent:
    """A monitor that keeps what it hears; `stop_at` raises after that many steps."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.started_at: int | None = None
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.finished = False

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        self.started_at = len(history)

    def step(self, step: int, metrics: StepMetrics) -> None:
        self.steps.append(step)
        if step + 1 == self.stop_at:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finish(self) -> None:
        self.finished = True


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    """Return the recipe with some keys of some sections replaced."""
    data = recipe.model_dump(mode="python")
    for name, keys in sections.items():
        data[name] |= keys
    return Recipe.model_validate(data)


def run(
    recipe: Recipe,
    scratch: Scratch,
    monitor: Any = None,
    *,
    seed: int = 0,
    prior: Prior | None = None,
) -> OptimizedModel:
    prompts = guidance_prompts("a red mug", recipe.guidance)
    prior = prior or build_prior(recipe.prior, None, CPU)
    return optimize(
        recipe,
        seed=seed,
        prior=prior,
        text=prior.encode_text(list(prompts.values())),
        prompts=prompts,
        scratch=scratch,
        device=CPU,
        monitor=monitor or Silent(),
    )


def assert_same(found: OptimizedModel, expected: OptimizedModel) -> None:
    states = found.model.state_dict(), expected.model.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    assert found.history == expected.history


# What a kind has beside the keys of sds, and the images it asks the prior for per view.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "sjc": ({"variance_reduction": False}, 2),
    "csd": ({"negative_weight": {"start": 1.0, "end": 0.0, "from_step": 0, "to_step": 10}}, 0),
    "vsd": (
        {
            "phi": {
                "source": None,
                "rank": 1,
                "learning_rate": 0.01,
                "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
                "steps": 2,
                "loss": "epsilon",
                "text": "view",
                "timestep_min": 0.02,
                "timestep_max": 0.98,
                "camera_dropout": 0.1,
            }
        },
        2,
    ),
    "ism": ({"interval": 0.05, "inversion_stride": 0.2}, 0),
    "sdi": ({"inversion_scale": -7.5, "inversion_stride": 0.2, "inversion_noise": 0.3}, 0),
    "rfds_rev": ({}, 0),
}


def of_kind(recipe: Recipe, kind: str) -> Recipe:
    data = recipe.guidance.model_dump(mode="python") | {"kind": kind, **KINDS[kind][0]}
    # Past the check that csd has a prior that reads text: these tests' prior tints by it.
    guidance = TypeAdapter(GuidanceSection).validate_python(data)
    return recipe.model_copy(update={"guidance": guidance})


class Counting(Prior):
    """The analytic prior, which counts its calls and can be made to fail."""

    def __init__(
        self, inner: AnalyticPrior, *, break_at: int | None = None, tint: float = 0.0
    ) -> None:
        self.inner = inner
        self.schedule = inner.schedule
        self.break_at = break_at
        self.tint = tint  # how much a text's length moves every number of the noise
        self.batches: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        lengths = [float(len(prompt)) for prompt in prompts]
        return TextFeatures({"length": torch.tensor(lengths)[:, None]})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner.to_model_space(images)

    def adapter(self, rank: int, *, generator: torch.Generator) -> Adapter:
        return self.inner.adapter(rank, generator=generator)

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        assert not noisy.requires_grad
        self.batches.append(len(noisy))
        if len(self.batches) - 1 == self.break_at:
            return torch.full_like(noisy, torch.nan)
        shift = self.tint * text.tensors["length"].reshape(-1, 1, 1, 1)
        return self.inner.predict(noisy, timestep, text) + shift


def counting(recipe: Recipe, *, break_at: int | None = None, tint: float = 0.0) -> Counting:
    inner = build_prior(recipe.prior, None, CPU)
    assert isinstance(inner, AnalyticPrior)
    return Counting(inner, break_at=break_at, tint=tint)
