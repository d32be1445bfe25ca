import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.recipe.schema import UnboundedSection
from dreamfusion_kit.records import Rays
from dreamfusion_kit.renderer.sampling import intersect_sphere, sample_intervals
from dreamfusion_kit.seeding import generator


def _ray(origin: tuple[float, ...], direction: tuple[float, ...]) -> Rays:
    return Rays(
        torch.tensor([origin], dtype=torch.float64), torch.tensor([direction], dtype=torch.float64)
    )


def _random_rays(count: int) -> Rays:
    random = generator(0, "rays")
    origins = 1.2 * torch.randn(count, 3, generator=random, dtype=torch.float64)
    directions = torch.randn(count, 3, generator=random, dtype=torch.float64)
    return Rays(origins, torch.nn.functional.normalize(directions, dim=-1))


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0, 0, 1.2), (0, 0, -1), (0, 2.6)),
        ((0, 0, 1.5), (0, 0, -1), (0.1, 2.9)),
        ((0, 0, 1.5), (0, 0, 1), None),  # the sphere lies behind
        ((1.41, 0, 3), (0, 0, -1), None),
        ((1.39, 0, 3), (0, 0, -1), (3 - math.sqrt(0.0279), 3 + math.sqrt(0.0279))),
    ],
)
def test_where_rays_cross_the_sphere(
    origin: tuple[float, ...], direction: tuple[float, ...], expected: tuple[float, ...] | None
) -> None:
    entry, leave, crosses = intersect_sphere(_ray(origin, direction), 1.4, near=0.0)
    assert bool(crosses) == (expected is not None)
    if expected is None:
        assert torch.equal(entry, leave)
    else:
        assert (float(entry), float(leave)) == pytest.approx(expected, abs=1e-12)


def test_near_cuts_the_way_and_may_take_all_of_it() -> None:
    ray = _ray((0, 0, 1.2), (0, 0, -1))
    entry, leave, _ = intersect_sphere(ray, 1.4, near=0.5)
    assert (float(entry), float(leave)) == pytest.approx((0.5, 2.6))
    assert not intersect_sphere(ray, 1.4, near=3.0)[2]


def test_a_far_camera_loses_no_precision() -> None:
    ray = Rays(torch.tensor([[1000.0, 0, 0.5]]), torch.tensor([[-1.0, 0, 0]]))
    entry, leave, _ = intersect_sphere(ray, 1.0, near=0.0)
    assert float(leave - entry) == pytest.approx(2 * math.sqrt(0.75), abs=1e-3)


@given(distance=st.floats(0, 3), impact=st.floats(0, 1.5), count=st.integers(1, 40))
def test_pieces_cover_the_way_exactly(distance: float, impact: float, count: int) -> None:
    ray = _ray((impact, 0, distance), (0, 0, -1))
    entry, leave, _ = intersect_sphere(ray, 1.0, near=0.0)
    pieces = sample_intervals(ray, 1.0, num_samples=count, near=0.0)
    assert pieces.t_starts.shape == (1, count)
    assert float(pieces.deltas.sum()) == pytest.approx(float(leave - entry), abs=1e-9)
    assert (pieces.deltas >= 0).all()
    assert (pieces.deltas <= 2 / count + 1e-9).all()
    assert torch.equal(pieces.t_starts[:, 1:], pieces.t_ends[:, :-1])
    assert torch.equal(pieces.t_starts[:, 0], entry)


def test_evaluation_points_lie_in_the_middle_and_inside_the_sphere() -> None:
    rays = _random_rays(200)
    pieces = sample_intervals(rays, 1.4, num_samples=16, near=0.0)
    torch.testing.assert_close(pieces.t_mids, (pieces.t_starts + pieces.t_ends) / 2)
    positions = rays.origins[:, None] + pieces.t_mids[..., None] * rays.directions[:, None]
    assert (positions.norm(dim=-1)[pieces.deltas > 0] <= 1.4).all()


def test_jitter_stays_in_its_piece_and_is_uniform_over_it() -> None:
    rays = _ray((0, 0, 2), (0, 0, -1))
    many = Rays(rays.origins.expand(20_000, 3), rays.directions.expand(20_000, 3))
    pieces = sample_intervals(many, 1.0, num_samples=4, near=0.0, generator=generator(0, "j"))
    fraction = (pieces.t_mids - pieces.t_starts) / pieces.deltas
    assert ((fraction >= 0) & (fraction <= 1)).all()
    tolerance = 4 / math.sqrt(12 * 20_000)
    assert float(fraction[:, 0].mean()) == pytest.approx(0.5, abs=tolerance)
    assert float(fraction[:, 0].var()) == pytest.approx(1 / 12, abs=0.003)


def test_jitter_is_that_of_its_address() -> None:
    rays = _random_rays(10)

    def mids(step: int) -> torch.Tensor:
        random = generator(0, "jitter", step)
        return sample_intervals(rays, 1.4, num_samples=8, near=0.0, generator=random).t_mids

    assert torch.equal(mids(3), mids(3))
    assert not torch.equal(mids(3), mids(4))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_any_leading_axes(shape: tuple[int, ...]) -> None:
    rays = Rays(torch.zeros(*shape, 3), torch.tensor([0.0, 0, 1]).expand(*shape, 3))
    pieces = sample_intervals(rays, 1.0, num_samples=5, near=0.0)
    assert pieces.t_mids.shape == (*shape, 5)
    torch.testing.assert_close(pieces.deltas.sum(dim=-1), torch.ones(shape))


BEYOND = UnboundedSection(num_samples=4, far=50.0, proposal=None)


@given(distance=st.floats(-0.9, 0.9), impact=st.floats(0, 0.4), count=st.integers(1, 20))
def test_pieces_go_on_to_the_far_distance(distance: float, impact: float, count: int) -> None:
    ray = _ray((impact, 0, distance), (0, 0, -1))
    _, leave, _ = intersect_sphere(ray, 1.0, near=0.0)
    pieces = sample_intervals(ray, 1.0, num_samples=count, near=0.0, beyond=BEYOND)
    inside = sample_intervals(ray, 1.0, num_samples=count, near=0.0)
    assert torch.equal(pieces.t_starts[:, :count], inside.t_starts)
    assert torch.equal(pieces.t_starts[:, 1:], pieces.t_ends[:, :-1])
    assert float(pieces.t_starts[0, count]) == float(leave)
    assert float(pieces.t_ends[0, -1]) == pytest.approx(50.0)
    inverse = 1 / torch.cat([pieces.t_starts[0, count:], pieces.t_ends[0, -1:]])
    steps = -inverse.diff()
    torch.testing.assert_close(steps, steps.mean().expand(4))


def test_a_far_distance_inside_the_sphere_adds_nothing() -> None:
    ray = _ray((0, 0, 0), (0, 0, -1))
    beyond = UnboundedSection(num_samples=3, far=0.5, proposal=None)
    pieces = sample_intervals(ray, 1.0, num_samples=2, near=0.0, beyond=beyond)
    assert float(pieces.deltas[0, :2].sum()) == pytest.approx(1.0)
    assert (pieces.deltas[0, 2:] <= 0).all()


def test_a_ray_that_starts_where_it_leaves_has_no_gap_and_no_nan() -> None:
    ray = _ray((0, 0, 2), (0, 0, 1))  # outside, and looking away
    pieces = sample_intervals(ray, 1.0, num_samples=2, near=0.0, beyond=BEYOND)
    assert pieces.t_mids.isfinite().all()
    assert float(pieces.deltas.sum()) == pytest.approx(50.0)
