"""How far VSD's phi gets on the renders of a finished field, and what is then left of VSD.

python scripts/phi_study.py SUITE ASSET RATE [RATE ...]     print a Markdown table

For each learning rate a phi of the asset's recipe (toybox-vsd, if its own has none) is trained
for 700 steps on random views of the field, which stays as it is: an easier task than in a run,
where the field moves away. Then, on other views with other noise, at each noise level:

    error       mean squared error of the noise by the prior with the view's text, and by phi
    cosine      of VSD's residual, eps_hat - eps_phi, with CSD's, eps_c - eps_u, by guidance scale
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.conditioning import Conditioning, PromptFeatures, conditioning_for
from dreamfusion_kit.guidance.sds import diffuse, encode, noise_levels
from dreamfusion_kit.guidance.vsd import VariationalDistillation, pose_rows
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import load_text
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.schema import Recipe, VsdSection
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.models import load_prior

SEED = 0
STEPS = 700
MEASURED_AFTER = (100, 700)
NUM_VIEWS = 32
LEVELS = (0.2, 0.5, 0.8)  # of t
SCALES = (1.0, 3.0, 7.5)


@dataclass(frozen=True)
class Scene:
    """A field that stays as it is, and the prior that judges it."""

    recipe: Recipe
    model: NerfModel
    prior: Prior
    prompts: PromptFeatures


@dataclass(frozen=True)
class Measured:
    """Noisy views at one noise level, with what the prior says of them."""

    noisy: Tensor
    noise: Tensor
    timestep: Tensor
    conditioning: Conditioning
    poses: Tensor
    unconditional: Tensor
    conditional: Tensor


def main(*arguments: str) -> None:
    """Print the table."""
    if len(arguments) < 3:
        raise SystemExit(__doc__)
    suite, asset, *rates = arguments
    scene = _scene(suite, asset)
    section = scene.recipe.guidance
    assert isinstance(section, VsdSection)
    measured = {level: _measured(scene, level) for level in LEVELS}
    cosines = " | ".join(f"cosine at scale {scale:g}" for scale in SCALES)
    print(f"| rate | steps | t | error, prior | error, phi | {cosines} |")
    print("|---:|---:|---:|---:|---:|" + "---:|" * len(SCALES))
    for rate in map(float, rates):
        phi_section = section.phi.model_copy(update={"learning_rate": rate})
        own = section.model_copy(update={"phi": phi_section})
        adapter = scene.prior.adapter(
            phi_section.rank, generator=seeding.generator(SEED, "phi-initial")
        )
        trained = VariationalDistillation(own, scene.prior, scene.prompts, adapter)
        for step in range(STEPS):
            _train(own, scene, trained, step)
            if step + 1 in MEASURED_AFTER:
                for level, views in measured.items():
                    numbers = _numbers(adapter, views)
                    cells = " | ".join(f"{number:.4f}" for number in numbers)
                    print(f"| {rate:g} | {step + 1} | {level} | {cells} |", flush=True)


def _scene(suite: str, asset: str) -> Scene:
    resolved = resolve(Path(), suite, asset)
    layout = SuiteLayout(Path(), suite)
    device = torch.device("cpu")
    prior = load_prior(resolved.recipe, layout.model(resolved.recipe_name), Path(), device)
    if not isinstance(prior, Prior):
        raise SystemExit(f"{asset}: found no diffusion prior, expected one")
    model = NerfModel.load(layout.asset(asset).field, resolved.recipe)
    recipe = resolved.recipe
    if not isinstance(recipe.guidance, VsdSection):
        recipe = recipe.model_copy(
            update={"guidance": load_recipe(Path("recipes/toybox-vsd.yaml")).guidance}
        )
    return Scene(recipe, model, prior, PromptFeatures.of(*load_text(layout.asset(asset).text)))


def _train(section: VsdSection, scene: Scene, trained: VariationalDistillation, step: int) -> None:
    """Train phi as `guide` does, without asking for the gradient that a field would get."""
    views = _views(scene, 1, step, "train")
    conditioning = conditioning_for(section, scene.prior, scene.prompts, views.cameras)
    encoded = encode(scene.prior, views.images)
    drawn = seeding.generator(SEED, "guidance", step=step)
    noisy = diffuse(section, scene.prior, encoded, conditioning, step, drawn)
    generator = seeding.generator(SEED, "phi", step=step)
    for _ in range(section.phi.steps):
        trained._train_phi(noisy, pose_rows(views.cameras), generator)


@torch.no_grad()
def _views(scene: Scene, count: int, step: int, purpose: str) -> Views:
    """Render views as the last steps of a run do."""
    recipe, last = scene.recipe, scene.recipe.optimize.num_steps - 1

    def draw(stream: str) -> torch.Generator:
        return seeding.generator(SEED, f"{purpose}-{stream}", step=step)

    cameras = sample_cameras(recipe.camera, count, generator=draw("camera"), step=last)
    lighting = sample_lighting(recipe.light, recipe.shading, cameras, last, generator=draw("light"))
    rays = pixel_rays(cameras)
    background = scene.model.draw_background(rays, generator=draw("background"))
    output = scene.model.render(rays, lighting, background)
    return Views(output.image.movedim(-1, 1), output.opacity, cameras)


@torch.no_grad()
def _measured(scene: Scene, level: float) -> Measured:
    section, prior = scene.recipe.guidance, scene.prior
    assert isinstance(section, VsdSection)
    views = _views(scene, NUM_VIEWS, 0, "measure")
    conditioning = conditioning_for(section, prior, scene.prompts, views.cameras)
    clean = prior.to_model_space(views.images)
    timestep = torch.full((NUM_VIEWS,), round(level * prior.num_train_timesteps))
    noise = torch.randn(clean.shape, generator=seeding.generator(SEED, "measure-noise"))
    noisy = noise_levels(prior, timestep).add_noise(clean, noise)
    unconditional = prior.predict(noisy, timestep, conditioning.unconditional)
    conditional = prior.predict(noisy, timestep, conditioning.conditional)
    poses = pose_rows(views.cameras)
    return Measured(noisy, noise, timestep, conditioning, poses, unconditional, conditional)


@torch.no_grad()
def _numbers(phi: Adapter, views: Measured) -> tuple[float, ...]:
    own = phi(views.noisy, views.timestep, views.conditioning.conditional, views.poses)
    classifier = views.conditional - views.unconditional
    residuals = [views.unconditional + scale * classifier - own for scale in SCALES]
    cosines = [
        torch.nn.functional.cosine_similarity(residual.flatten(1), classifier.flatten(1))
        for residual in residuals
    ]
    return (
        float((views.conditional - views.noise).square().mean()),
        float((own - views.noise).square().mean()),
        *(float(cosine.mean()) for cosine in cosines),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
