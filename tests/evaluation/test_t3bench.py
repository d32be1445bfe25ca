"""T3Bench's arithmetic on closed forms."""

import numpy as np
import pytest
import torch

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.t3bench import FOVS_Y_DEG, RADIUS, quality, view_sphere

NUM_VIEWS = 162


def averaging() -> np.ndarray:
    """Return one round as a matrix; neighbours are found by distance, not by the mesh's edges."""
    points = view_sphere().positions
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest = np.sort(distances, axis=1)
    near = distances < 1.3 * nearest[:, 5:6]  # edges differ by 15 %, the next ring by 60 %
    return near / near.sum(axis=1, keepdims=True)


def test_the_sphere_has_twelve_vertices_of_five_neighbours() -> None:
    sphere = view_sphere()
    assert len(sphere.positions) == NUM_VIEWS
    counts = [len(others) for others in sphere.neighbors]
    assert (counts.count(5), counts.count(6)) == (12, NUM_VIEWS - 12)
    np.testing.assert_allclose(np.linalg.norm(sphere.positions, axis=1), RADIUS)
    np.testing.assert_allclose(sphere.positions.mean(axis=0), 0, atol=1e-9)
    for vertex, others in enumerate(sphere.neighbors):
        assert all(vertex in sphere.neighbors[other] for other in others)
        assert set(others) | {vertex} == set(np.flatnonzero(averaging()[vertex]))


def test_the_fields_of_view_are_fractions_of_pi() -> None:
    assert pytest.approx([180 / part for part in (3, 4, 5, 6, 7.5)]) == FOVS_Y_DEG


@pytest.mark.parametrize("reward", [-2.0, 0.0, 1.5])
def test_equal_rewards_stay_equal(reward: float) -> None:
    assert quality(torch.full((NUM_VIEWS, 5), reward)) == pytest.approx(20 * reward + 50)


@pytest.mark.parametrize("vertex", [0, 20, 161])
def test_one_good_view_is_spread_three_times(vertex: int) -> None:
    rewards = torch.zeros(NUM_VIEWS, 5)
    rewards[vertex, 3] = 1
    expected = np.linalg.matrix_power(averaging(), 3)[:, vertex].max()
    assert quality(rewards) == pytest.approx(20 * expected + 50)
    assert quality(rewards) < 20 * 0.2 + 50  # a lucky view alone is worth little


def test_the_best_field_of_view_counts_and_all_rewards_enter() -> None:
    rewards = torch.rand(NUM_VIEWS, 5, generator=seeding.generator(0, "test"), dtype=torch.float64)
    best = rewards.numpy().max(axis=1)
    expected = (np.linalg.matrix_power(averaging(), 3) @ best).max()
    assert quality(rewards) == pytest.approx(20 * expected + 50)
    assert quality(3 * rewards - 1) == pytest.approx(20 * (3 * expected - 1) + 50)


def test_rewards_of_other_views_are_refused() -> None:
    with pytest.raises(ValueError, match="found 42 rows of rewards, expected 162"):
        quality(torch.zeros(42, 5))
