"""The Fréchet distance against closed forms and SciPy's matrix root."""

import numpy as np
import pytest
import scipy.linalg
import torch

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.frechet import frechet_distance


def normal(count: int, features: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=draw, dtype=torch.float64)


def whitened(count: int, features: int) -> torch.Tensor:
    """Points of mean 0 and covariance 1, exactly."""
    points = normal(count, features, 0)
    points = points - points.mean(dim=0)
    return points @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(points.T))).T


def test_axis_aligned_gaussians_have_a_closed_form() -> None:
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2 over standard deviations."""
    points = whitened(50, 3)
    scale, shift = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 3.0, -4.0])
    found = frechet_distance(points, points * scale + shift)
    assert found == pytest.approx(25.0 + 1.0 + 0.25)


def test_general_sets_agree_with_the_matrix_root_of_scipy() -> None:
    first = normal(40, 6, 1) @ normal(6, 6, 2)
    second = normal(30, 6, 3) @ normal(6, 6, 4) + 0.5
    covariances = [np.cov(points.numpy().T) for points in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    gap = (first.mean(dim=0) - second.mean(dim=0)).square().sum().item()
    expected = gap + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself_even_where_it_is_small() -> None:
    few = normal(5, 16, 5)
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)


def test_one_image_is_refused() -> None:
    with pytest.raises(EvaluationError, match="sets of 1 and 4 images"):
        frechet_distance(normal(1, 2, 0), normal(4, 2, 1))
