"""VSD on Gaussians, where phi can be exact: it keeps the spread that SDS loses."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance import vsd as module
from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.guidance.vsd import VariationalDistillation, pose_rows
from dreamfusion_kit.priors.analytic import AnalyticPrior, GaussianAdapter
from dreamfusion_kit.priors.phi import lora
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema

MEAN, STD = 0.6, 0.3  # of the data, in image space
PHI = {
    "source": None,
    "rank": 1,
    "learning_rate": 0.05,
    "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
    "steps": 1,
    "loss": "epsilon",
    "text": "view",
    "timestep_min": 0.3,
    "timestep_max": 0.9,
    "camera_dropout": 0.1,
}
EVEN = {
    "guidance_scale": 1.0,
    "timestep_weight": "uniform",
    "timestep_min": 0.3,
    "timestep_max": 0.9,
}


@pytest.fixture(scope="module")
def prior() -> AnalyticPrior:
    component = {"weight": 1.0, "mean_color": (MEAN,) * 3, "std": 2 * STD}
    section = {"kind": "analytic", "components": (component,), "image_size_px": 1}
    return AnalyticPrior(schema.AnalyticSection.model_validate(section), "cpu")


def texts(prior: AnalyticPrior) -> PromptFeatures:
    keys = ["front", "left", "right", "back", "overhead", "negative"]
    return PromptFeatures(prior.encode_text(keys), keys)


@pytest.fixture
def build(prior: AnalyticPrior, guidance: Callable[..., Any]) -> Callable[..., Guidance]:
    def make(kind: str, **changes: Any) -> Guidance:
        section = guidance(kind, **(EVEN | changes))
        return build_guidance(section, prior, texts(prior), generator=torch.Generator())

    return make


def particles() -> torch.Tensor:
    """Return 64 grey-ish pixels around another colour than the data's."""
    return 0.3 + 0.05 * torch.randn(64, 3, 1, 1, generator=torch.Generator().manual_seed(0))


def descend(
    built: Guidance, images: torch.Tensor, views: Callable[..., Any], draw: Any, steps: int
) -> torch.Tensor:
    for step in range(steps):
        output = built.guide(views(images), step, draw(step))
        images = images - 0.03 * len(images) * output.gradient  # each particle's own
    return images


def test_vsd_keeps_the_spread_of_the_data_where_sds_collapses(
    build: Callable[..., Guidance], views: Callable[..., Any], draw: Any
) -> None:
    distilled = descend(build("vsd", phi=PHI), particles(), views, draw, 200)
    collapsed = descend(build("sds"), particles(), views, draw, 200)
    for found in (distilled, collapsed):
        assert float(found.mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(distilled.std()) == pytest.approx(STD, rel=0.2)
    assert float(collapsed.std()) < 0.3 * STD


def test_with_phi_at_the_render_itself_it_is_sds(
    build: Callable[..., Guidance],
    prior: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Any,
) -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1)
    section = guidance("vsd", phi=PHI, **EVEN)
    for step in range(5):
        phi = GaussianAdapter(prior.schedule)
        with torch.no_grad():
            phi.mean.copy_(2 * image - 1)
            phi.log_std.fill_(-30.0)
        vsd = VariationalDistillation(section, prior, texts(prior), phi)
        found = vsd.guide(views(image), step, draw(step)).gradient
        expected = build("sds").guide(views(image), step, draw(step)).gradient
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def gaussian_epsilon(z: Any, alpha: Any, sigma: Any, mean: Any, std: float) -> Any:
    """Return the noise in z = alpha x + sigma eps of x ~ N(mean, std^2): its regression on z."""
    return sigma * (z - alpha * mean) / (alpha**2 * std**2 + sigma**2)


@pytest.mark.parametrize("weight", ["uniform", "sigma_squared"])
def test_the_gradient_in_closed_form(
    prior: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Any,
    weight: str,
) -> None:
    phi = GaussianAdapter(prior.schedule)
    with torch.no_grad():
        phi.mean.copy_(torch.tensor([0.5, -0.25, 0.0]).reshape(1, 3, 1, 1))
        phi.log_std.fill_(-1.0)
    section = guidance("vsd", phi=PHI, **(EVEN | {"timestep_weight": weight}))
    images = particles()[:4]
    found = VariationalDistillation(section, prior, texts(prior), phi).guide(
        views(images), 0, draw(0)
    )
    t = (found.timesteps.double() * 1000).round()
    angle = (torch.pi / 2 * (t + 0.5) / 1000)[:, None, None, None]  # the cosine schedule
    alpha, sigma = angle.cos(), angle.sin()
    generator = draw(0)("guidance")
    torch.randint(300, 901, (4,), generator=generator)
    noise = torch.randn(4, 3, 1, 1, generator=generator).double()
    z = alpha * (2 * images.double() - 1) + sigma * noise
    own = torch.tensor([0.5, -0.25, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    residual = gaussian_epsilon(z, alpha, sigma, 2 * MEAN - 1, 2 * STD)
    residual = residual - gaussian_epsilon(z, alpha, sigma, own, math.exp(-1.0))
    w = sigma**2 if weight == "sigma_squared" else 1.0
    expected = 2 * w * residual / 4  # images in [0, 1] are stretched by two; four views
    torch.testing.assert_close(found.gradient.double(), expected, atol=1e-5, rtol=1e-5)


class Affine(Adapter):
    """eps = a z + b + c * (the last number of the camera's position)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            torch.nn.Parameter(torch.tensor(value)) for value in (0.5, 0.1, 0.2)
        )
        self.calls: list[tuple[torch.Tensor, TextFeatures, torch.Tensor]] = []

    def forward(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        text: TextFeatures,
        cameras: torch.Tensor,
    ) -> torch.Tensor:
        self.calls.append((timestep, text, cameras))
        return self.a * noisy + self.b + self.c * cameras[:, 3, None, None, None]


@pytest.mark.parametrize("loss", ["epsilon", "v", "flow"])
def test_phi_s_gradient_in_closed_form(
    prior: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Any,
    loss: str,
) -> None:
    phi = Affine()
    before = {name: value.item() for name, value in phi.trainable().items()}
    changes = {"loss": loss, "timestep_min": 0.1, "timestep_max": 0.7, "camera_dropout": 0.5}
    section = guidance("vsd", phi=PHI | changes, **EVEN)
    seen = views(particles()[:8])
    seen.cameras.camera_to_world[:, 0, 3] = 3.0
    VariationalDistillation(section, prior, texts(prior), phi).guide(seen, 0, draw(0))

    generator = draw(0)("phi")
    t = torch.randint(100, 701, (8,), generator=generator)
    noise = torch.randn(8, 3, 1, 1, generator=generator).double()
    kept = (torch.rand(8, generator=generator) >= 0.5)[:, None, None, None]
    timestep, _, cameras = phi.calls[1]  # the first is the field's
    assert torch.equal(timestep, t)
    assert 0 < int(kept.sum()) < 8
    assert torch.equal(cameras[:, 3].bool(), kept.flatten())
    angle = (torch.pi / 2 * (t.double() + 0.5) / 1000)[:, None, None, None]
    alpha, sigma = angle.cos(), angle.sin()
    x = 2 * seen.images.double() - 1
    z = alpha * x + sigma * noise
    inputs = {"a": z, "b": torch.ones_like(z), "c": 3.0 * kept.double().expand_as(z)}
    epsilon = sum(before[name] * value for name, value in inputs.items())
    clean = (z - sigma * epsilon) / alpha  # what the same prediction says of x
    # The loss itself, of what each loss is named after; its slope in epsilon by hand.
    error, slope = {
        "epsilon": (epsilon - noise, torch.ones_like(alpha)),
        "v": ((alpha * epsilon - sigma * clean) - (alpha * noise - sigma * x), 1 / alpha),
        "flow": ((epsilon - clean) - (noise - x), 1 + sigma / alpha),
    }[loss]
    for name, value in phi.trainable().items():
        expected = float((2 * error * slope * inputs[name]).mean())
        assert float(value.grad) == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_phi_reads_the_text_it_is_told_to(
    prior: AnalyticPrior, guidance: Callable[..., Any], views: Callable[..., Any], draw: Any
) -> None:
    for text, expected in (("view", [3.0, 0.0]), ("plain", [9.0, 9.0])):
        section = guidance("vsd", phi=PHI | {"text": text}, **EVEN)
        keys = list(guidance_prompts("a red mug", section))
        assert ("plain" in keys) == (text == "plain")
        rows = torch.arange(len(keys)).float()
        rows[-1] = 9.0 if text == "plain" else rows[-1]
        prompts = PromptFeatures(TextFeatures({"row": rows[:, None]}), keys)
        phi = Affine()
        built = VariationalDistillation(section, prior, prompts, phi)
        built.guide(views(particles()[:2], azimuth_deg=[180.0, 0.0]), 0, draw(0))
        assert len(phi.calls) == 2
        for _, read, _ in phi.calls:  # to guide, and to learn
            assert read.tensors["row"].flatten().tolist() == expected


class Attention(torch.nn.Module):
    """The smallest network that LoRA adapts: one projection, and an embedding of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.Module()
        self.attention.to_out = torch.nn.ModuleList([torch.nn.Linear(3, 3)])
        self.time_embedding = torch.nn.Linear(1, 3)
        with torch.no_grad():
            self.attention.to_out[0].weight.copy_(torch.eye(3))
            for value in (self.attention.to_out[0].bias, *self.time_embedding.parameters()):
                value.zero_()
        self.requires_grad_(False)

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        time = self.time_embedding(timestep.float()[:, None])
        return (self.attention.to_out[0](noisy.flatten(1)) + time)[..., None, None]


def test_lora_learns_a_shift_of_the_score(
    prior: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The network knows images at 0; all renders are m, which shifts the noise by alpha m / sigma.

    At one timestep the noise in z is (z - alpha m) / sigma, of which z / sigma is known.
    """
    monkeypatch.setattr(lora, "_TIME_EMBEDDINGS", {"Attention": "time_embedding"})
    network = Attention()
    alpha, sigma = (math.cos(0.5 * math.pi * 0.5005), math.sin(0.5 * math.pi * 0.5005))

    def denoise(
        module: Any, noisy: torch.Tensor, timestep: torch.Tensor, _text: TextFeatures
    ) -> torch.Tensor:
        return module(noisy, timestep) / sigma

    phi = lora.LoraDenoiser(
        network, denoise, 3, device=torch.device("cpu"), generator=torch.Generator()
    )
    changes = {"learning_rate": 0.02, "timestep_min": 0.4996, "timestep_max": 0.5001, "rank": 3}
    section = guidance("vsd", phi=PHI | changes | {"steps": 5}, **EVEN)
    vsd = VariationalDistillation(section, prior, texts(prior), phi)
    color = torch.tensor([0.9, 0.5, 0.3]).reshape(1, 3, 1, 1)
    for step in range(60):
        vsd.guide(views(color.repeat(8, 1, 1, 1)), step, draw(step))
    z = torch.randn(5, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        cameras = pose_rows(views(color.repeat(5, 1, 1, 1)).cameras)
        found = phi(z, torch.full((5,), 500), texts(prior).features, cameras)
    shift = alpha * (2 * color - 1) / sigma
    torch.testing.assert_close(found, z / sigma - shift, atol=0.05, rtol=0)
    assert torch.equal(network.attention.to_out[0].weight, torch.eye(3))
    assert not network.time_embedding.bias.any()


@pytest.mark.parametrize("loss", ["epsilon", "v", "flow"])
def test_phi_becomes_the_distribution_of_the_renders(
    prior: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Any,
    loss: str,
) -> None:
    phi = GaussianAdapter(prior.schedule)
    section = guidance("vsd", phi=PHI | {"loss": loss, "learning_rate": 0.02}, **EVEN)
    vsd = VariationalDistillation(section, prior, texts(prior), phi)
    images = 0.3 + 3 * (particles() - 0.3)
    for step in range(200):
        vsd.guide(views(images), step, draw(step))
    clean = 2 * images - 1
    center = clean.mean(dim=0, keepdim=True)
    torch.testing.assert_close(phi.mean.detach(), center, atol=0.08, rtol=0)
    width = float((clean - center).square().mean().sqrt())
    assert float(phi.log_std.detach().exp()) == pytest.approx(width, rel=0.2)


def test_the_gradient_of_a_mean_survives_float16() -> None:
    """By hand: d mean(x^2) / d w of x = w a, with 2 a^2 w / count below float16's smallest."""
    factors = torch.full((1 << 20,), 0.05, dtype=torch.float16)
    weight = torch.nn.Parameter(torch.tensor(0.1))
    mean = (factors * weight.half()).float().square().mean()
    module._backward(mean, factors.numel(), [weight])
    assert float(weight.grad) == pytest.approx(2 * 0.05**2 * 0.1, rel=0.01)


def test_the_gradient_of_a_mean_is_that_of_autograd_to_the_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(37, 5, generator=draw)
    found, expected = (
        torch.nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))
        for _ in range(2)
    )
    error = (inputs @ found).tanh()
    module._backward(error.square().mean(), error.numel(), [found])
    (inputs @ expected).tanh().square().mean().backward()
    assert torch.equal(found.grad, expected.grad)


def test_only_phi_learns_and_only_by_its_own_loss(
    build: Callable[..., Guidance], prior: AnalyticPrior, views: Callable[..., Any], draw: Any
) -> None:
    built = build("vsd", phi=PHI)
    weights = torch.nn.Parameter(particles())
    before = {name: value.detach().clone() for name, value in built.state_tensors().items()}
    output = built.guide(views(weights * 1.0), 0, draw(0))
    after = built.state_tensors()
    assert not output.gradient.requires_grad
    assert weights.grad is None
    assert all(not torch.equal(after[name], value) for name, value in before.items())


def test_restored_it_goes_on_to_the_bit(
    build: Callable[..., Guidance], views: Callable[..., Any], draw: Any
) -> None:
    whole, images = build("vsd", phi=PHI), particles()
    for step in range(3):
        whole.guide(views(images), step, draw(step))
    saved = {name: value.detach().clone() for name, value in whole.state_tensors().items()}
    restored = build("vsd", phi=PHI)
    restored.load_state_tensors(saved)
    for step in range(3, 6):
        expected = whole.guide(views(images), step, draw(step)).gradient
        found = restored.guide(views(images), step, draw(step)).gradient
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="found 0 tensors of phi, expected 2"):
        restored.load_state_tensors({})


def test_poses_are_the_matrices_row_by_row(views: Callable[..., Any]) -> None:
    cameras = views(particles()).cameras
    cameras.camera_to_world[:, 0, 3] = 7.0
    assert pose_rows(cameras).shape == (64, 16)
    assert pose_rows(cameras)[5, 3] == 7.0
