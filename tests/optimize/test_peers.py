"""Each term's gradient relative to that of SDS, against the peers' formulas.

The formulas are written down here from what the peers compute (docs/recipes-against-peers.md),
on one field, seen by one pair of views, with one linear denoiser. The kit's lambdas are the
peers', divided by the pixels or latents over which a peer sums its guidance.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import trimesh
from pydantic import TypeAdapter
from torch.nn import functional

from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.penalties import weighted_penalties
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import GuidanceSection, PenaltiesSection, Recipe
from dreamfusion_kit.records import Cameras, RenderOutput, Surface
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.seeding import generator
from dreamfusion_kit.shape import smoothness
from dreamfusion_kit.shape.adjacency import Edges, shared_edges

ANALYTIC = Path(__file__).parents[2] / "recipes" / "analytic.yaml"
SIDE, VIEWS = 12, 2
TIMESTEP = 3
Space = Literal["pixels", "latents"]


class Linear(Prior):
    """A denoiser that halves its input and adds a text's number; latents of 2 x 2 pixels."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.schedule = NoiseSchedule(torch.linspace(0.95, 0.1, 8))
        self.mix = torch.randn(4, 3, 2, 2, generator=generator(0, "encoder"))

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        return TextFeatures({"number": torch.tensor([[len(p) / 50] for p in prompts])})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        signed = 2 * images - 1
        return signed if self.space == "pixels" else functional.conv2d(signed, self.mix, stride=2)

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        return noisy / 2 + text.tensors["number"][:, :, None, None]


class Scene:
    """A fixed field and its render, with the gradients of anything computed from it."""

    def __init__(self, *, bounding_radius: float = 1.0) -> None:
        data = load_recipe(ANALYTIC).model_dump(mode="python")
        data["camera"] |= {"image_size_px": SIDE}
        data["field"] |= {"resolution": 8, "bounding_radius": bounding_radius}
        data["shading"] |= {"albedo_only_steps": 0, "shaded_probability": 1.0}
        recipe = Recipe.model_validate(data)
        self.model = NerfModel.build(recipe, seed=0)
        self.parameters = list(self.model.parameters())
        for parameter in self.parameters:
            torch.nn.init.normal_(parameter, generator=generator(0, "field"))
        self.cameras: Cameras = sample_cameras(
            recipe.camera, VIEWS, generator=generator(0, "camera")
        )
        light = sample_lighting(
            recipe.light, recipe.shading, self.cameras, 5, generator=generator(0, "light")
        )
        rays = pixel_rays(self.cameras)
        self.output: RenderOutput
        self.samples: RaySamples
        self.output, self.samples = self.model.render_with_samples(
            rays,
            light,
            self.model.draw_background(rays, generator=generator(0, "background")),
            with_normals=True,
            generator=None,
        )
        self.images = self.output.image.movedim(-1, 1)

    def gradient(self, term: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.grad(term, self.parameters, retain_graph=True, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    @property
    def facing_away(self) -> torch.Tensor:
        """Return w max(0, n.d)^2 of every sample, the weights cut off."""
        packing, normals = self.samples.packing, self.samples.normals
        assert normals is not None
        rays = packing.slots // packing.num_intervals
        cosine = (normals * self.samples.directions[rays]).sum(dim=-1)
        weights = self.samples.weights.detach().flatten()[packing.slots]
        return weights * cosine.clamp_min(0.0) ** 2


def guided(scene: Scene, prior: Linear, **keys: Any) -> torch.Tensor:
    """Return the kit's guidance as a term of the loss."""
    data = load_recipe(ANALYTIC).guidance.model_dump(mode="python") | keys
    data |= {"timestep_min": TIMESTEP / 8, "timestep_max": (TIMESTEP + 0.2) / 8}  # that one alone
    section: Any = TypeAdapter(GuidanceSection).validate_python(data)
    prompts = guidance_prompts("a red mug", section)
    features = PromptFeatures.of(prior.encode_text(list(prompts.values())), prompts)
    guidance = build_guidance(section, prior, features, generator=torch.Generator())
    views = Views(scene.images, scene.output.opacity, scene.cameras)
    found = guidance.guide(views, 0, lambda stream: generator(0, stream))
    return (found.gradient * scene.images).sum()


class Step:
    """What a peer knows after it has queried its denoiser."""

    def __init__(self, scene: Scene, prior: Linear) -> None:
        self.latents = prior.to_model_space(scene.images)
        draws = generator(0, "guidance")
        torch.randint(0, 1, (VIEWS,), generator=draws)  # the timesteps, all equal here
        self.noise = torch.randn(self.latents.shape, generator=draws)
        alpha_bar = float(torch.linspace(0.95, 0.1, 8)[TIMESTEP])
        self.alpha, self.sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        self.noisy = (self.alpha * self.latents + self.sigma * self.noise).detach()
        # len("a red mug") letters of the text against none, both over 50.
        self.text, self.uncond = self.noisy / 2 + 9 / 50, self.noisy / 2


def by_target(step: Step, gradient: torch.Tensor) -> torch.Tensor:
    """Return the loss whose slope on the latents is `gradient`: a sum, over the batch."""
    target = (step.latents - gradient).detach()
    return 0.5 * functional.mse_loss(step.latents, target, reduction="sum") / VIEWS


def threestudio_sds(step: Step) -> torch.Tensor:
    """`stable_diffusion_guidance.py`, with its default weight; scale 100."""
    predicted = step.text + 100.0 * (step.text - step.uncond)
    return by_target(step, step.sigma**2 * (predicted - step.noise))


def stable_dreamfusion_sds(step: Step) -> torch.Tensor:
    """`sd_utils.py`; scale 100, counted from the empty text."""
    predicted = step.uncond + 100.0 * (step.text - step.uncond)
    return by_target(step, step.sigma**2 * (predicted - step.noise))


def mvdream_reconstruction(step: Step) -> torch.Tensor:
    """`multiview_diffusion_guidance.py` with `recon_loss`, without its rescale; scale 50."""
    predicted = step.uncond + 50.0 * (step.text - step.uncond)
    clean = (step.noisy - step.sigma * predicted) / step.alpha
    return 0.5 * ((step.latents - clean.detach()) ** 2).sum() / VIEWS


def mvdream_rescaled(step: Step) -> torch.Tensor:
    """The same with its `recon_std_rescale` of 0.5, for one view at a time."""
    predicted = step.uncond + 50.0 * (step.text - step.uncond)
    clean, plain = (
        (step.noisy - step.sigma * noise) / step.alpha for noise in (predicted, step.text)
    )
    factor = (plain.std([1, 2, 3], keepdim=True) + 1e-8) / (
        clean.std([1, 2, 3], keepdim=True) + 1e-8
    )
    clean = 0.5 * factor * clean + 0.5 * clean
    return 0.5 * ((step.latents - clean.detach()) ** 2).sum() / VIEWS


def threestudio_sjc(step: Step) -> torch.Tensor:
    """The same file's `compute_grad_sjc` with `var_red`; scale 100."""
    sigma = step.sigma / step.alpha
    clean = step.latents.detach()
    noised = clean + sigma * step.noise
    scaled = noised / math.sqrt(1 + sigma**2)
    text, uncond = scaled / 2 + 9 / 50, scaled / 2
    denoised = noised - sigma * (text + 100.0 * (text - uncond))
    return by_target(step, -(denoised - clean) / sigma)


PEERS: dict[str, tuple[Callable[[Step], torch.Tensor], dict[str, Any]]] = {
    "threestudio": (threestudio_sds, {"guidance_scale": 101.0}),
    "stable-dreamfusion": (stable_dreamfusion_sds, {"guidance_scale": 100.0}),
    "mvdream": (
        mvdream_reconstruction,
        {"guidance_scale": 50.0, "timestep_weight": "sigma_over_alpha"},
    ),
    "mvdream-rescaled": (
        mvdream_rescaled,
        {
            "kind": "x0_reconstruction",
            "guidance_scale": 50.0,
            "guidance_rescale": 0.5,
            "timestep_weight": "uniform",
        },
    ),
    "sjc": (
        threestudio_sjc,
        {
            "kind": "sjc",
            "variance_reduction": True,
            "guidance_scale": 101.0,
            "timestep_weight": "uniform",
        },
    ),
}
LAMBDAS = {"opacity": 1.0, "orientation": 1000.0, "entropy": 10.0}


def peers_penalties(scene: Scene) -> dict[str, torch.Tensor]:
    """Return threestudio's sparsity, orientation and opaque losses times their lambdas."""
    opacity = scene.output.opacity
    inside = opacity.clamp(1.0e-3, 1.0 - 1.0e-3)
    hit = (opacity > 0).sum()
    opaque = -(inside * inside.log() + (1 - inside) * (1 - inside).log()).mean()
    return {
        "opacity": LAMBDAS["opacity"] * (opacity**2 + 0.01).sqrt().mean(),
        "orientation": LAMBDAS["orientation"] * scene.facing_away.sum() / hit,
        "entropy": LAMBDAS["entropy"] * opaque,
    }


def kits_penalties(scene: Scene, pixels: int) -> dict[str, torch.Tensor]:
    lambdas = {f"{term}_lambda": number / pixels for term, number in LAMBDAS.items()}
    section = PenaltiesSection.model_validate(
        {"distortion_lambda": 0.0, "smoothness_lambda": 0.0, **lambdas}
    )
    terms = weighted_penalties(section, scene.output.opacity, scene.samples, scene.model, 0)
    return {str(name): term for name, term in terms.items()}


@pytest.mark.parametrize("space", ["pixels", "latents"])
@pytest.mark.parametrize("peer", PEERS)
def test_each_terms_gradient_relative_to_the_guidances_is_the_peers(
    peer: str, space: Space
) -> None:
    scene, prior = Scene(), Linear(space)
    loss, keys = PEERS[peer]
    pixels = SIDE**2 if space == "pixels" else (SIDE // 2) ** 2
    theirs = scene.gradient(loss(Step(scene, prior)))
    ours = scene.gradient(guided(scene, prior, **keys))
    torch.testing.assert_close(ours * pixels / theirs.norm(), theirs / theirs.norm(), **WITHIN)
    found, expected = kits_penalties(scene, pixels), peers_penalties(scene)
    assert found.keys() == expected.keys()
    hit = float((scene.output.opacity > 0).float().mean())
    assert hit < 1  # some rays miss the sphere: the one place where the formulas differ
    for term, penalty in expected.items():
        wanted = scene.gradient(penalty) / theirs.norm()
        if term == "orientation":  # a mean over the rays that met something, and over all here
            wanted = wanted * hit
        relative = scene.gradient(found[term]) / ours.norm()
        assert float(wanted.norm()) > 1e-6
        torch.testing.assert_close(relative, wanted, **WITHIN)


WITHIN = {"rtol": 0.0, "atol": 1e-5}


def test_the_same_orientation_where_every_ray_meets_the_sphere() -> None:
    scene = Scene(bounding_radius=3.0)
    assert bool((scene.output.opacity > 0).all())
    theirs = scene.gradient(peers_penalties(scene)["orientation"])
    ours = scene.gradient(kits_penalties(scene, 1)["orientation"])
    torch.testing.assert_close(ours / theirs.norm(), theirs / theirs.norm(), **WITHIN)


def test_stable_dreamfusions_orientation_is_the_kits_mean_over_rays() -> None:
    """`nerf/renderer.py`, `run`: a sum along each ray, then the mean; lambda 0.01."""
    scene = Scene()
    rays = VIEWS * SIDE**2
    theirs = scene.gradient(scene.facing_away.sum() / rays)
    ours = scene.gradient(kits_penalties(scene, 1)["orientation"]) / LAMBDAS["orientation"]
    torch.testing.assert_close(ours / theirs.norm(), theirs / theirs.norm(), **WITHIN)


# ---- of a surface: other formulas, so that only their ratio on one mesh can be held


def bumpy_ball() -> tuple[torch.Tensor, torch.Tensor]:
    """Return 642 vertices around a radius of 0.5, bumps of 5 percent on them, and their faces."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    vertices = torch.tensor(np.array(ball.vertices))
    bumps = torch.sin(12 * vertices).prod(dim=-1, keepdim=True)
    return (vertices * (1 + 0.05 * bumps)).requires_grad_(), torch.tensor(np.array(ball.faces))


def sides(faces: torch.Tensor) -> torch.Tensor:
    """Return each edge once, its lower vertex first."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return pairs.sort(dim=1)[0].unique(dim=0)


def threestudio_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """`mesh.py`: 1 - cosine of the normals of the vertices at both ends, mean over edges."""
    a, b, c = vertices[faces].unbind(dim=1)
    areas = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(vertices)
    for corner in range(3):
        sums = sums.index_add(0, faces[:, corner], areas)
    first, second = functional.normalize(sums, dim=1)[sides(faces)].unbind(dim=1)
    return (1 - (first * second).sum(dim=-1)).mean()


def threestudio_laplacian(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """`mesh.py`, from stable-dreamfusion: length of (D - A) v, mean over vertices."""
    first, second = sides(faces).unbind(dim=1)
    adjacent = torch.zeros(len(vertices), len(vertices), dtype=vertices.dtype)
    adjacent[first, second] = adjacent[second, first] = 1
    matrix = torch.diag(adjacent.sum(dim=1)) - adjacent
    return (matrix @ vertices).norm(dim=1).mean()


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "cosine"),
    [
        (smoothness.normal_consistency, threestudio_normals, 0.872, 0.942),
        (smoothness.laplacian, threestudio_laplacian, 0.391, 0.827),
    ],
)
def test_a_surface_s_penalties_pull_with_the_ratio_that_the_page_says(
    ours: Callable[[Surface, Edges], torch.Tensor],
    theirs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ratio: float,
    cosine: float,
) -> None:
    """At the same lambda: the kit's gradient over threestudio's, and the angle between them."""
    vertices, faces = bumpy_ball()
    (found,) = torch.autograd.grad(ours(Surface(vertices, faces), shared_edges(faces)), vertices)
    (expected,) = torch.autograd.grad(theirs(vertices, faces), vertices)
    assert float(found.norm() / expected.norm()) == pytest.approx(ratio, abs=1e-3)
    along = float((found * expected).sum() / found.norm() / expected.norm())
    assert along == pytest.approx(cosine, abs=1e-3)
    page = (Path(__file__).parents[2] / "docs" / "recipes-against-peers.md").read_text()
    assert f"| {ratio:.2f} | {cosine:.2f} |" in page


def test_a_surface_s_penalties_scale_otherwise_than_the_peers_with_its_size() -> None:
    """Both of the kit's have no unit; threestudio's Laplacian grows with the surface."""
    vertices, faces = bumpy_ball()
    small, large = vertices.detach(), 3 * vertices.detach()
    edges = shared_edges(faces)
    for ours in (smoothness.normal_consistency, smoothness.laplacian):
        torch.testing.assert_close(
            ours(Surface(large, faces), edges), ours(Surface(small, faces), edges)
        )
    torch.testing.assert_close(threestudio_normals(large, faces), threestudio_normals(small, faces))
    torch.testing.assert_close(
        threestudio_laplacian(large, faces), 3 * threestudio_laplacian(small, faces)
    )
