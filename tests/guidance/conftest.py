"""Guidance sections to vary, a prior known in closed form, and views for it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.conditioning import Conditioning, PromptFeatures
from dreamfusion_kit.guidance.sds import NoisyViews
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.analytic import mixture_epsilon
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.schema import ViewPromptsSection
from dreamfusion_kit.records import Cameras

VIEW_PROMPTS = {
    "enabled": True,
    "combine": "nearest",
    "front": "front view",
    "left": "left side view",
    "right": "right side view",
    "back": "back view",
    "overhead": "overhead view",
    "overhead_above_deg": 60.0,
    "front_half_width_deg": 45.0,
    "back_half_width_deg": 30.0,
}
GUIDANCE = {
    "guidance_scale": 101.0,
    "guidance_rescale": 0.0,
    "perp_neg": None,
    "timestep_weight": "sigma_squared",
    "timestep_min": 0.02,
    "timestep_max": 0.98,
    "negative_prompt": "",
    "view_prompts": VIEW_PROMPTS,
}
PHI = {
    "source": None,
    "rank": 2,
    "learning_rate": 0.05,
    "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
    "steps": 1,
    "loss": "epsilon",
    "text": "view",
    "timestep_min": 0.02,
    "timestep_max": 0.98,
    "camera_dropout": 0.1,
}
OF_KIND: dict[str, dict[str, Any]] = {
    "sds": {},
    "sjc": {"variance_reduction": True},
    "csd": {"negative_weight": 0.0},
    "vsd": {"phi": PHI},
    "ism": {"interval": 0.05, "inversion_stride": 0.2},
    "sdi": {"inversion_scale": -7.5, "inversion_stride": 0.1, "inversion_noise": 0.3},
    "rfds_rev": {},
    "x0_reconstruction": {"timestep_weight": "uniform"},
}
SECTION = TypeAdapter(schema.GuidanceSection)


@pytest.fixture
def view_prompts() -> Callable[..., ViewPromptsSection]:
    def make(**changes: Any) -> ViewPromptsSection:
        return ViewPromptsSection.model_validate(VIEW_PROMPTS | changes)

    return make


@pytest.fixture
def guidance() -> Callable[..., Any]:
    """Return a function that makes a section: any kind but clip, sds unless told."""

    def make(kind: str = "sds", **changes: Any) -> Any:
        return SECTION.validate_python(GUIDANCE | OF_KIND[kind] | changes | {"kind": kind})

    return make


class Gaussian(Prior):
    """Pixels N(mean + shift, std^2), in float64, in image space itself.

    `shift` is each text's only feature, so that a text moves the mean.
    """

    def __init__(self, alpha_bar: float | list[float], mean: float, std: float) -> None:
        levels = [alpha_bar] if isinstance(alpha_bar, float) else alpha_bar
        self.schedule = NoiseSchedule(torch.tensor(levels, dtype=torch.float64))
        self.mean, self.std = mean, std
        self.calls: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        shifts = [0.1 * len(prompt) for prompt in prompts]
        return TextFeatures({"shift": torch.tensor(shifts, dtype=torch.float64)[:, None]})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.calls.append(len(noisy))
        assert len(text) == len(noisy) == len(timestep)
        mean = self.mean + text.tensors["shift"].reshape(-1, 1, 1, 1)
        # Each pixel is a Gaussian of its own: shift it to 0 and ask the mixture.
        alpha = self.alpha_t(timestep)[:, None, None, None]
        pixels = (noisy - alpha * mean).reshape(-1, 1)
        count = len(pixels) // len(noisy)
        found = mixture_epsilon(
            pixels,
            self.alpha_t(timestep).repeat_interleave(count),
            self.sigma_t(timestep).repeat_interleave(count),
            torch.zeros(1, 1, dtype=torch.float64),
            torch.tensor([self.std], dtype=torch.float64),
            torch.ones(1, dtype=torch.float64),
        )
        return found.reshape(noisy.shape)


@pytest.fixture
def gaussian() -> type[Gaussian]:
    return Gaussian


def shifts(values: Sequence[float]) -> TextFeatures:
    return TextFeatures({"shift": torch.tensor(values, dtype=torch.float64)[:, None]})


@pytest.fixture
def noisy_views() -> Callable[..., NoisyViews]:
    """Return a function that puts given noise on images; texts are shifts."""

    def make(
        clean: torch.Tensor,
        noise: torch.Tensor,
        timestep: int | list[int] = 0,
        conditional: float = 0.0,
        unconditional: float = 0.0,
        step: int = 0,
    ) -> NoisyViews:
        batch = len(clean)
        steps = [timestep] * batch if isinstance(timestep, int) else timestep
        texts = Conditioning(shifts([conditional] * batch), shifts([unconditional] * batch))
        return NoisyViews(clean, noise, torch.tensor(steps), texts, step)

    return make


@pytest.fixture
def views() -> Callable[..., Views]:
    """Return a function that looks at images from the front, or from given azimuths."""

    def make(
        images: torch.Tensor, azimuth_deg: Sequence[float] | None = None, together: int = 1
    ) -> Views:
        batch = len(images)
        azimuth = torch.zeros(batch) if azimuth_deg is None else torch.tensor(azimuth_deg)
        cameras = Cameras(
            camera_to_world=torch.eye(4, dtype=images.dtype).repeat(batch, 1, 1),
            fov_y_deg=torch.full((batch,), 40.0),
            azimuth_deg=azimuth,
            elevation_deg=torch.zeros(batch),
            radius=torch.ones(batch),
            height_px=images.shape[-2],
            width_px=images.shape[-1],
            views_per_object=together,
        )
        return Views(images, torch.full_like(images[:, 0], 0.5).detach(), cameras)

    return make


@pytest.fixture
def prompts() -> Callable[..., PromptFeatures]:
    """Return a function that gives every text of a section the same feature, its shift."""

    def make(section: Any, **by_key: float) -> PromptFeatures:
        texts = guidance_prompts("a red mug", section)
        return PromptFeatures(shifts([by_key.get(key, 0.0) for key in texts]), list(texts))

    return make


@pytest.fixture
def draw() -> Callable[[int], Callable[[str], torch.Generator]]:
    """Return a function from a step to its streams."""

    def at(step: int) -> Callable[[str], torch.Generator]:
        return lambda stream: torch.Generator().manual_seed(1000 * step + len(stream))

    return at
