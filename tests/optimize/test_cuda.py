"""The toybox's recipes on a GPU: they repeat and resume to the bit, and agree with a CPU."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch.utils import deterministic

from dreamfusion_kit.camera.light import albedo_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.loop import OptimizedModel, optimize
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.priors.base import Prior, Teacher
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import AnalyticSection, Recipe
from dreamfusion_kit.seeding import generator
from dreamfusion_kit.stages import devices

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*toybox*.yaml"))
NUM_STEPS, STOP_AT = 8, 5

pytestmark = [
    pytest.mark.gpu,
    # About operations that PyTorch does not guarantee; that they repeat is tested here.
    pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation"),
]


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """Return the device as every stage picks it, and undo what that switched on."""
    yield devices.pick("cuda")
    torch.use_deterministic_algorithms(False)
    deterministic.fill_uninitialized_memory = True


class Stopping:
    """A monitor that interrupts the run after `stop_at` steps."""

    def __init__(self, stop_at: int | None) -> None:
        self.stop_at = stop_at

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None: ...

    def step(self, step: int, metrics: StepMetrics) -> None:
        if step + 1 == self.stop_at:
            raise KeyboardInterrupt

    def note(self, message: str) -> None: ...

    def finish(self) -> None: ...


def short_recipe(name: str) -> Recipe:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    section = {"num_steps": NUM_STEPS, "checkpoint_every_steps": 3, "preview_every_steps": 4}
    return recipe.model_copy(update={"optimize": recipe.optimize.model_copy(update=section)})


def shipped_prior(recipe: Recipe, device: torch.device) -> Teacher:
    assert not isinstance(recipe.prior, AnalyticSection)
    assert recipe.prior.source.kind == "local"
    return build_prior(recipe.prior, ROOT / recipe.prior.source.path, device)


def run(
    recipe: Recipe, scratch: Scratch, device: torch.device, stop_at: int | None = None
) -> OptimizedModel:
    prior = shipped_prior(recipe, device)
    prompts = guidance_prompts("a red mug", recipe.guidance)
    return optimize(
        recipe,
        seed=0,
        prior=prior,
        text=prior.encode_text(list(prompts.values())).to(device),
        prompts=prompts,
        scratch=scratch,
        device=device,
        monitor=Stopping(stop_at),
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resumes_to_the_bit(
    name: str, make_scratch: Callable[[str], Scratch], cuda: torch.device
) -> None:
    recipe = short_recipe(name)
    whole = run(recipe, make_scratch("whole"), cuda)
    assert all(metrics.guidance_norm > 0 for metrics in whole.history)
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, stopped, cuda, STOP_AT)
    resumed = run(recipe, stopped, cuda)
    assert resumed.history == whole.history
    expected, found = whole.model.state_dict(), resumed.model.state_dict()
    assert expected.keys() == found.keys()
    assert all(value.device.type == "cuda" for value in found.values())
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["toybox", "toybox-hash", "dreamfusion-toybox"])
def test_a_field_looks_the_same_on_both_devices(name: str, cuda: torch.device) -> None:
    """Without jitter and skipped space an untrained field, its blob lit and seen with normals."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")

    def image(device: torch.device) -> torch.Tensor:
        model = NerfModel.build(recipe, seed=0).to(device).eval()
        cameras = orbit_cameras(
            torch.tensor([0.0, 120.0], device=device),
            elevation_deg=20.0,
            radius=2.2,
            fov_y_deg=50.0,
            image_size_px=16,
        )
        background = torch.full((2, 16, 16, 3), 0.5, device=device)
        with torch.no_grad():
            output = model.render(
                pixel_rays(cameras), albedo_lighting(cameras), background, with_normals=True
            )
        return output.image.cpu()

    torch.testing.assert_close(image(cuda), image(torch.device("cpu")), atol=1e-4, rtol=1e-4)


def test_the_prior_answers_the_same_on_both_devices(cuda: torch.device) -> None:
    """Convolutions on CUDA round to TF32's ten bits, some hundred of them in a row."""
    recipe = short_recipe("toybox")
    images = torch.rand(2, 3, 64, 64, generator=generator(0, "images"))
    timestep = torch.tensor([300, 900])

    def predicted(device: torch.device) -> torch.Tensor:
        prior = shipped_prior(recipe, device)
        assert isinstance(prior, Prior)
        text = prior.encode_text(["a red mug", "a blue rocket, back view"]).to(device)
        noisy = prior.to_model_space(images.to(device))
        return prior.predict(noisy, timestep.to(device), text).cpu()

    expected = predicted(torch.device("cpu"))
    error = (predicted(cuda) - expected).norm() / expected.norm()
    assert error < 1e-2
