"""Against a dense matrix made edge by edge, and what the smoothing is for."""

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.shape.smooth_steps import SmoothSteps


@pytest.fixture
def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=2, radius=0.5)


def _dense(mesh: trimesh.Trimesh, smoothing: float) -> torch.Tensor:
    matrix = np.eye(len(mesh.vertices))
    for a, b in mesh.edges_unique:
        matrix[a, a] += smoothing
        matrix[b, b] += smoothing
        matrix[a, b] -= smoothing
        matrix[b, a] -= smoothing
    return torch.from_numpy(matrix)


def test_it_solves_the_matrix_of_the_paper(ball: trimesh.Trimesh) -> None:
    steps = torch.randn(len(ball.vertices), 3, generator=torch.Generator().manual_seed(0)).double()
    smooth = SmoothSteps(torch.tensor(np.array(ball.faces)), len(steps), 7.0)
    assert torch.allclose(smooth(steps), torch.linalg.solve(_dense(ball, 7.0), steps))
    assert smooth(steps.float()).dtype == torch.float32


def test_its_gradient_is_that_of_differences(ball: trimesh.Trimesh) -> None:
    smooth = SmoothSteps(torch.tensor(np.array(ball.faces)), len(ball.vertices), 7.0)
    steps = torch.randn(len(ball.vertices), 3, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(smooth, [steps.requires_grad_()], fast_mode=True)


def test_a_common_step_is_kept_and_noise_is_not(ball: trimesh.Trimesh) -> None:
    count = len(ball.vertices)
    smooth = SmoothSteps(torch.tensor(np.array(ball.faces)), count, 20.0)
    common = torch.ones(count, 3)
    assert torch.allclose(smooth(common), common, atol=1e-5)
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    assert smooth(noise).norm() < 0.2 * noise.norm()
