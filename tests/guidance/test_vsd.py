"""VSD on Gaussians, where phi can be exact: it keeps the spread that SDS loses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance import vsd as module
from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.vsd import VariationalDistillation, pose_rows
from dreamfusion_kit.priors.analytic import AnalyticPrior, GaussianAdapter
from dreamfusion_kit.recipe import schema

MEAN, STD = 0.6, 0.3  # of the data, in image space
PHI = {
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


@pytest.mark.parametrize("loss", ["epsilon", "v"])
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
