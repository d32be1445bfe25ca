"""Has a metric fallen by more than chance? Sign-flip tests over assets.

Notation, fixed for the whole file:

    d   one difference per asset and metric, after minus before, signed so that a fall is
        negative; NaN where one side was not measured
    s   signs, one row per flip and one column per asset, the first row all +1
    sums   s d, one row per flip; the first row is what was seen

If a change has no effect, the two sides of one asset are exchangeable, so each d is as likely
as -d, whatever its distribution and however its views depend on each other.
The unit that is flipped is the asset, never a view. With all 2^n flips the test is exact; otherwise
drawn flips with the seen one among them keep its level (Phipson and Smyth, 2010).

The interval inverts the same test. The sum of d - m over a flip lies at or below the seen
one exactly if the mean of d over the flipped assets is at least m, so the ends are order
statistics of the subset means (Hartigan, 1969): no search, no normality.

Metrics are tested together by the smallest studentised sum over metrics (Westfall and
Young, 1993): one flip moves all metrics of an asset, so their correlation is accounted for.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest

_VALUES_AT_A_TIME = 4_000_000
_TIE = 1e-9  # sums of the same numbers in another order are ties

Differences = Float[np.ndarray, "assets metrics"]


@dataclass(frozen=True)
class Change:
    """The result of the flips for one metric.

    `mean` is the change, a fall negative. `p` is the chance of a fall at least as deep if
    nothing changed; `p_family` the chance that any of the metrics falls so far, each in units
    of its own spread. `interval` is None if there are too few assets for the given
    coverage. `least_p` is the smallest p that this many assets can give.
    """

    mean: float
    interval: tuple[float, float] | None
    p: float
    p_family: float
    least_p: float
    num_assets: int


def random_numbers(seed: int, stream: str) -> np.random.Generator:
    """Return the generator of an address, as `seeding.generator` does for torch."""
    digest = hashlib.sha256(f"{seed}/{stream}/0".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little") >> 1)


def compare(
    differences: Differences,
    *,
    num_views: int,
    num_flips: int,
    confidence_level: float,
    generator: np.random.Generator,
) -> list[Change]:
    """Return the change of each metric.

    If each asset has one view, differences of hits are -1, 0 or 1 and the sign-flip test
    is McNemar's, whose exact p needs no flips.
    """
    num_assets, num_metrics = differences.shape
    measured = ~np.isnan(differences)
    d = np.where(measured, differences, 0.0)
    is_exact = all_flips_fit(num_assets, num_flips)
    both = np.hstack([d, measured.astype(np.float64)])
    blocks = (signs @ both for signs in _sign_flips(num_assets, num_flips, generator))
    sums, counts = np.hsplit(np.concatenate(list(blocks)), 2)
    p_family = family_p(sums, np.linalg.norm(d, axis=0))
    changes: list[Change] = []
    for column in range(num_metrics):
        seen = d[measured[:, column], column]
        ends = _interval(sums[:, column], counts[:, column], num_assets, is_exact, confidence_level)
        one_view = num_views == 1 and bool(np.isin(seen, (-1.0, 0.0, 1.0)).all())
        changes.append(
            Change(
                mean=float(seen.mean()) if len(seen) else 0.0,
                interval=ends,
                p=_mcnemar_p(seen) if one_view else _fall_p(sums[:, column]),
                p_family=float(p_family[column]),
                least_p=max(0.5 ** len(seen), 0.0 if is_exact else 1 / num_flips),
                num_assets=len(seen),
            )
        )
    return changes


def all_flips_fit(num_assets: int, num_flips: int) -> bool:
    """Return whether `num_flips` is enough for all sign flips of that many assets."""
    return num_assets < 63 and 2**num_assets <= num_flips


def family_p(
    sums: Float[np.ndarray, "flips metrics"], norms: Float[np.ndarray, " metrics"]
) -> Float[np.ndarray, " metrics"]:
    """Return the p of each metric's fall with all metrics tested together.

    Args:
        sums: One row per flip, the first one as seen.
        norms: The root of the sum of squared differences, which no flip changes.
    """
    deepest = (sums / np.where(norms > 0, norms, 1.0)).min(axis=1)
    seen = sums[0] / np.where(norms > 0, norms, 1.0)
    return (deepest[:, None] <= seen + _TIE).mean(axis=0)


def _sign_flips(
    num_assets: int, num_flips: int, generator: np.random.Generator
) -> Iterator[Float[np.ndarray, "flips assets"]]:
    """Yield blocks of sign flips, all possible ones if they fit; the first is the identity."""
    block = max(1, _VALUES_AT_A_TIME // num_assets)
    if all_flips_fit(num_assets, num_flips):
        for start in range(0, 2**num_assets, block):
            numbers = np.arange(start, min(start + block, 2**num_assets))[:, None]
            yield 1.0 - 2.0 * ((numbers >> np.arange(num_assets)) & 1)
        return
    for start in range(0, num_flips, block):
        shape = (min(block, num_flips - start), num_assets)
        bits = generator.integers(0, 2, size=shape, dtype=np.int8)
        if start == 0:
            bits[0] = 0
        yield 1.0 - 2.0 * bits


def _fall_p(sums: Float[np.ndarray, " flips"]) -> float:
    tie = _TIE * max(1.0, abs(float(sums[0])))
    return float((sums <= sums[0] + tie).mean())


def _mcnemar_p(seen: Float[np.ndarray, " assets"]) -> float:
    lost, gained = int((seen < 0).sum()), int((seen > 0).sum())
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue)


def _interval(
    sums: Float[np.ndarray, " flips"],
    counts: Float[np.ndarray, " flips"],
    num_assets: int,
    is_exact: bool,
    confidence_level: float,
) -> tuple[float, float] | None:
    """Return the ends that leave half of the rest on either side; see the file's head.

    Args:
        sums: Signed sums; the flipped assets' sum is half of what a flip takes away.
        counts: The same of the number of measured assets.
        num_assets: Assets, measured or not.
        is_exact: Whether these are all possible flips.
        confidence_level: The required coverage.
    """
    sizes: Int[np.ndarray, " flips"] = np.rint((counts[0] - counts) / 2).astype(np.int64)
    some: Bool[np.ndarray, " flips"] = sizes > 0
    means = np.sort((sums[0] - sums[some]) / 2 / sizes[some])
    tail = (1 - confidence_level) / 2
    if is_exact:  # assets without a measure only repeat each subset
        num_measured = int(np.rint(counts[0]))
        repeated = 2 ** (num_assets - num_measured)
        place = int(tail * 2**num_measured + _TIE) * repeated
    else:
        place = int(tail * (len(means) + 1))
    return None if place < 1 else (float(means[place - 1]), float(means[-place]))
