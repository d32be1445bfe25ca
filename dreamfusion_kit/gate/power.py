"""Could this suite have detected a fall of the given size? Power, by simulation."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dreamfusion_kit.gate.chance import Differences, family_p
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection

_NUM_SUITES = 400  # a power of 0.8 is then known to 0.02
_NUM_FLIPS = 1000


def powers(
    differences: Differences,
    watched: Sequence[GatedMetricSection],
    gate: GateSection,
    generator: np.random.Generator,
) -> list[float]:
    """Return, per metric, how often the gate refuses a suite in which it falls by its `drop`.

    Suites are resampled from this one: assets are drawn with replacement, each with its own
    deviation from the mean change, for all metrics together, with a random sign, as if nothing
    had changed. Deviations smaller than those between two seeds are scaled up to them, since a
    change that matters re-rolls whatever the seed decides. The metric in question then falls
    by `drop` on every asset, and the gate's own rule is applied.
    """
    num_assets = len(differences)
    measured = ~np.isnan(differences).all(axis=0)
    noise = np.column_stack(
        [
            _deviations(differences[:, column], section.spread, generator)
            for column, section in enumerate(watched)
        ]
    )
    flips = 1.0 - 2.0 * generator.integers(0, 2, size=(_NUM_FLIPS, num_assets), dtype=np.int8)
    flips[0] = 1.0
    balance = flips.sum(axis=1)
    refused = np.zeros(len(watched))
    for _ in range(_NUM_SUITES):
        rows = generator.integers(0, num_assets, size=num_assets)
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(num_assets, 1))
        suite = signs * noise[rows]
        sums, norms = flips @ suite, np.linalg.norm(suite, axis=0)
        for column, section in enumerate(watched):
            fallen = suite[:, column] - section.drop
            if -fallen.mean() <= section.tolerance:
                continue
            its_sums, its_norms = sums.copy(), norms.copy()
            its_sums[:, column] -= section.drop * balance
            its_norms[column] = np.linalg.norm(fallen)
            refused[column] += family_p(its_sums, its_norms)[column] <= gate.significance
    return [float(share) for share in np.where(measured, refused / _NUM_SUITES, np.nan)]


def _deviations(
    differences: Float[np.ndarray, " assets"], spread: float, generator: np.random.Generator
) -> Float[np.ndarray, " assets"]:
    """Return each asset's deviation from the mean change, with a spread of at least `spread`."""
    seen = ~np.isnan(differences)
    if seen.sum() < 2:
        return generator.normal(0.0, spread, size=len(differences))
    centred = np.where(seen, differences - np.nanmean(differences), 0.0)
    found = float(np.sqrt((centred**2).sum() / (seen.sum() - 1)))
    if found < spread / 4:  # almost no difference: nothing to scale
        return generator.normal(0.0, spread, size=len(differences))
    return centred * max(1.0, spread / found)
