"""Norms of a step's terms against gradients written down by hand."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.optimize.loss import total_loss
from dreamfusion_kit.optimize.penalties import sum_of, weighted_penalties
from dreamfusion_kit.optimize.shares import GradientNorms, measure
from dreamfusion_kit.recipe.schema import PenaltiesSection
from dreamfusion_kit.records import GuidanceOutput, RenderOutput
from dreamfusion_kit.renderer.ray_samples import Packing, RaySamples

CPU = torch.device("cpu")


class Grid(torch.nn.Module):
    """A field of three numbers whose roughness is the sum of their squares."""

    def __init__(self, interlevel_lambda: float = 0.0) -> None:
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.interlevel_lambda = interlevel_lambda

    def smoothness(self) -> torch.Tensor:
        return self.numbers.square().sum()


def render(weights: torch.Tensor, normals: torch.Tensor) -> tuple[RenderOutput, RaySamples]:
    """Return two rays of two samples; the second ray's last was left out as empty.

    Each sample has the colour of its own number, over a background of 0.5.
    """
    opacity = weights.sum(dim=-1)
    colors = torch.tensor([[0.1, 0.2], [0.3, 0.0]], dtype=torch.float64)
    grey = (weights * colors).sum(dim=-1) + (1 - opacity) * 0.5
    directions = torch.tensor([[0, 0, -1.0], [0, 0, -1.0]], dtype=torch.float64)
    packing = Packing(torch.tensor([0, 1, 2]), torch.tensor([2, 1]), num_intervals=2)
    samples = RaySamples(directions, weights, None, None, packing, normals)
    shape = (1, 1, 2)
    output = RenderOutput(
        image=grey.view(*shape, 1).expand(*shape, 3),
        opacity=opacity.view(shape),
        depth=torch.zeros(shape),
        normals=torch.zeros(*shape, 3),
    )
    return output, samples


def test_every_norm(penalties: Callable[..., PenaltiesSection]) -> None:
    weights = torch.tensor([[0.5, 0.2], [0.4, 0.0]], dtype=torch.float64, requires_grad=True)
    facing = torch.tensor([[0, 0, -1.0], [0, 0, 1.0], [0, 0.8, -0.6]], dtype=torch.float64)
    normals = facing.requires_grad_()
    grid = Grid()
    output, samples = render(weights, normals)
    section = penalties(
        opacity_lambda=0.1, orientation_lambda=0.2, entropy_lambda=0.3, smoothness_lambda=0.5
    )
    gradient = torch.tensor([1.0, -2.0], dtype=torch.float64).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    guidance = GuidanceOutput(gradient, None, torch.zeros(1))
    terms = weighted_penalties(section, output.opacity, samples, grid, 0)
    found = measure(guidance, terms, output, samples, grid.parameters())

    # On the image: three channels each. On a weight: those, times its colour less the background.
    pulls = [3 * 1.0 * (0.1 - 0.5), 3 * 1.0 * (0.2 - 0.5), 3 * -2.0 * (0.3 - 0.5)]
    opacities = [0.7, 0.7, 0.4]  # of the ray of each sample
    empty = [0.1 * o / math.sqrt(o**2 + 0.01) / 2 for o in opacities]
    decide = [0.3 * math.log((1 - o) / o) / 2 for o in opacities]
    # Samples that face away: the first fully, the third by 0.6; twice the cosine, times weight.
    away = [0.2 * 0.5 * 2 * 1.0 / 2, 0.0, 0.2 * 0.4 * 2 * 0.6 / 2]
    expected = GradientNorms(
        guidance_image=math.sqrt(3 * (1 + 4)),
        guidance_weights=math.hypot(*pulls),
        opacity=math.hypot(*empty),
        orientation=math.hypot(*away),
        entropy=math.hypot(*decide),
        distortion=0.0,
        smoothness=0.5 * 2 * 3.0,
    )
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name


def test_a_guidance_on_the_opacity_counts(penalties: Callable[..., PenaltiesSection]) -> None:
    weights = torch.tensor([[0.5, 0.2], [0.4, 0.0]], dtype=torch.float64, requires_grad=True)
    output, samples = render(weights, torch.zeros(3, 3, dtype=torch.float64))
    on_opacity = torch.tensor([[[2.0, 0.0]]], dtype=torch.float64)
    guidance = GuidanceOutput(
        torch.zeros(1, 3, 1, 2, dtype=torch.float64), on_opacity, torch.ones(1)
    )
    terms = weighted_penalties(penalties(distortion_lambda=1.0), output.opacity, samples, Grid(), 0)
    found = measure(guidance, terms, output, samples, Grid().parameters())
    assert found.guidance_image == 0
    assert found.guidance_weights == pytest.approx(2 * math.sqrt(2))
    assert found.distortion > 0
    assert found.shares(1.0) == {"distortion": found.distortion / found.guidance_weights}


def test_measuring_leaves_the_gradient_and_the_graph(
    penalties: Callable[..., PenaltiesSection],
) -> None:
    section = penalties(opacity_lambda=0.1, smoothness_lambda=0.5)
    gradients = list[torch.Tensor]()
    for measured in (False, True):
        weights = torch.tensor([[0.5, 0.2], [0.4, 0.1]], requires_grad=True)
        grid = Grid()
        output, samples = render(weights.double(), torch.zeros(3, 3))
        guidance = GuidanceOutput(torch.ones(1, 3, 1, 2), None, torch.zeros(1))
        terms = weighted_penalties(section, output.opacity, samples, grid, 0)
        if measured:
            measure(guidance, terms, output, samples, grid.parameters())
            assert weights.grad is None
            assert grid.numbers.grad is None
        images = output.image.movedim(-1, 1)
        total_loss(guidance, images, output.opacity, sum_of(terms, CPU)).backward()
        assert weights.grad is not None
        assert grid.numbers.grad is not None
        gradients += [weights.grad, grid.numbers.grad]
    assert torch.equal(gradients[0], gradients[2])
    assert torch.equal(gradients[1], gradients[3])


def test_smoothness_is_compared_with_the_rest_of_the_step() -> None:
    norms = GradientNorms(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, smoothness=3.0)
    assert norms.shares(4096 * 5.0) == {"smoothness": pytest.approx(0.75)}  # 3 of 3, 4 and 5
    assert norms.shares(4096 * 3.0) == {"smoothness": math.inf}


def test_a_term_without_a_graph_has_no_norm(penalties: Callable[..., PenaltiesSection]) -> None:
    """A hash grid's smoothness is a plain 0, and an empty view depends on nothing."""
    output, samples = render(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(3, 3))
    guidance = GuidanceOutput(torch.ones(1, 3, 1, 2, dtype=torch.float64), None, torch.zeros(1))
    terms = {"smoothness": torch.zeros(()), "opacity": torch.ones(())}
    found = measure(guidance, terms, output, samples, Grid().parameters())
    assert found == GradientNorms(math.sqrt(6), 0, 0, 0, 0, 0, 0)
