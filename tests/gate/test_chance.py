import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from dreamfusion_kit.gate import chance
from dreamfusion_kit.gate.chance import Change, compare, random_numbers


def changes(differences: np.ndarray, **options: object) -> list[Change]:
    arguments = {
        "num_views": 8,
        "num_flips": 65536,
        "confidence_level": 0.95,
        "generator": random_numbers(0, "gate.flips"),
    } | options
    return compare(differences, **arguments)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_p_agrees_with_scipy_where_all_flips_are_tried() -> None:
    d = np.random.default_rng(0).normal(-0.3, 1, size=9)
    (found,) = changes(d[:, None])
    expected = permutation_test(
        (d,), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf
    )
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean == pytest.approx(d.mean())


def test_drawn_flips_agree_with_all_flips() -> None:
    d = np.random.default_rng(1).normal(-0.2, 1, size=(14, 3))
    every = changes(d)
    drawn = changes(d, num_flips=10_000)
    for exact, sampled in zip(every, drawn, strict=True):
        assert sampled.p == pytest.approx(exact.p, abs=0.02)
        assert sampled.p_family == pytest.approx(exact.p_family, abs=0.02)
        assert sampled.interval == pytest.approx(exact.interval, abs=0.05)


def test_one_view_is_mcnemar_exactly() -> None:
    d = np.array([-1.0] * 7 + [1.0] * 2 + [0.0] * 5)
    expected = binomtest(7, 9, 0.5, alternative="greater").pvalue
    (one_view,) = changes(d[:, None], num_views=1)
    (flips,) = changes(d[:, None], num_views=8)
    assert one_view.p == pytest.approx(expected)
    assert flips.p == pytest.approx(expected)  # the same test, by enumeration
    (many,) = changes(np.array([-1.0] * 40 + [1.0] * 10)[:, None], num_views=1, num_flips=1000)
    assert many.p == pytest.approx(binomtest(40, 50, 0.5, alternative="greater").pvalue)


def test_interval_is_the_inverted_test() -> None:
    """A shift is inside exactly if neither one-sided test rejects it: by brute force."""
    d = np.random.default_rng(2).normal(0.1, 1, size=8)
    (found,) = changes(d[:, None], confidence_level=0.9)
    signs = np.array(list(itertools.product((1, -1), repeat=8)))

    def is_accepted(shift: float) -> bool:
        sums = signs @ (d - shift)
        return min((sums <= sums[0] + 1e-9).mean(), (sums >= sums[0] - 1e-9).mean()) > 0.05

    assert found.interval is not None
    low, high = found.interval
    assert low < d.mean() < high
    for inside in np.linspace(low + 1e-6, high - 1e-6, 50):
        assert is_accepted(inside)
    assert not is_accepted(low - 1e-6)
    assert not is_accepted(high + 1e-6)


@pytest.mark.parametrize("num_assets", [12, 40])
def test_interval_covers_as_often_as_it_says(num_assets: int) -> None:
    draws = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        d = draws.standard_t(3, size=num_assets) + 0.5  # heavy tails: no normality needed
        (found,) = changes(d[:, None], num_flips=4096, generator=draws)
        assert found.interval is not None
        covered += found.interval[0] <= 0.5 <= found.interval[1]
    assert 0.92 <= covered / 300 <= 0.985


def test_unmeasured_assets_change_nothing() -> None:
    d = np.random.default_rng(4).normal(-0.5, 1, size=10)
    (alone,) = changes(d[:, None])
    (among,) = changes(np.append(d, [np.nan, np.nan])[:, None])
    assert among.num_assets == 10
    assert (among.mean, among.p, among.least_p) == pytest.approx((alone.mean, alone.p, 0.5**10))
    assert among.interval == pytest.approx(alone.interval)


def test_few_assets_have_no_interval_and_a_least_p() -> None:
    (found,) = changes(column(-0.5, -0.4, -0.6, -0.5))
    assert found.interval is None
    assert found.p == found.least_p == pytest.approx(1 / 16)


def test_no_change_is_never_a_fall() -> None:
    (found,) = changes(np.zeros((12, 1)))
    assert (found.mean, found.p, found.p_family) == (0.0, 1.0, 1.0)
    assert found.interval == (0.0, 0.0)


def test_family_p_is_brute_forces() -> None:
    d = np.random.default_rng(5).normal(-0.3, 1, size=(7, 3))
    found = changes(d)
    norms = np.sqrt((d**2).sum(axis=0))
    signs = np.array(list(itertools.product((1, -1), repeat=7)))
    deepest = ((signs @ d) / norms).min(axis=1)
    for index, change in enumerate(found):
        seen = d[:, index].sum() / norms[index]
        assert change.p_family == pytest.approx((deepest <= seen + 1e-9).mean())
        assert change.p_family >= change.p - 1e-12


def test_equal_metrics_cost_nothing() -> None:
    """Twice the same metric is one question; Bonferroni would double its p."""
    d = np.random.default_rng(6).normal(-0.4, 1, size=(9, 1))
    (alone,) = changes(d)
    twice = changes(np.hstack([d, 3 * d]))
    assert twice[0].p_family == twice[1].p_family == alone.p_family == alone.p


def test_any_metric_falls_by_chance_as_rarely_as_promised() -> None:
    """The level of the whole family, with views that depend on each other."""
    draws = np.random.default_rng(8)
    alarms = 0
    for _ in range(1000):
        skill = draws.beta(5, 1, size=(12, 1, 3))
        sides = draws.binomial(8, np.broadcast_to(skill, (12, 2, 3))) / 8
        found = changes(sides[:, 1] - sides[:, 0], num_flips=4096)
        alarms += min(change.p_family for change in found) <= 0.05
    assert alarms <= 65  # 50 expected, and 65 is two standard deviations above


def test_blocks_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    d = np.random.default_rng(9).normal(-0.2, 1, size=(12, 2))
    whole, drawn = changes(d), changes(d, num_flips=2000)
    monkeypatch.setattr(chance, "_VALUES_AT_A_TIME", 997 * 12)
    assert changes(d) == whole
    assert [c.mean for c in changes(d, num_flips=2000)] == [c.mean for c in drawn]


def test_random_numbers_are_addressed() -> None:
    assert random_numbers(1, "a").random() == random_numbers(1, "a").random()
    assert random_numbers(1, "a").random() != random_numbers(1, "b").random()
