"""The gate's decision: per metric, and whether the change is refused."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from dreamfusion_kit.gate.chance import Change, compare, random_numbers
from dreamfusion_kit.gate.judges import with_judges
from dreamfusion_kit.gate.metrics import Metrics
from dreamfusion_kit.gate.pairs import Pairs, pair
from dreamfusion_kit.gate.power import powers
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection

_ROUNDING = 1e-9  # means of numbers with four decimals


class Verdict(Enum):
    """The verdict on one metric. Only the first two refuse the change."""

    FELL = "fell"
    LOST = "no longer measured"
    MAYBE = "lower, but could be chance"
    TOO_FEW = "lower, too few assets to tell"
    SMALL = "within tolerance"
    HELD = "not lower"
    UNMEASURED = "not measured"


@dataclass(frozen=True)
class MetricResult:
    """One watched metric: both means, the change (a fall is negative) and the verdict."""

    key: str
    section: GatedMetricSection
    before: float
    after: float
    change: Change
    power: float
    verdict: Verdict

    @property
    def refuses(self) -> bool:
        """Return whether this metric refuses the change."""
        return self.verdict in (Verdict.FELL, Verdict.LOST)


@dataclass(frozen=True)
class Comparison:
    """Two sides of a suite, and the gate's decision about them."""

    before: Metrics
    after: Metrics
    pairs: Pairs
    gate: GateSection
    results: tuple[MetricResult, ...]

    @property
    def refused(self) -> bool:
        """Return whether the change is refused."""
        return bool(self.pairs.remeasured) or any(result.refuses for result in self.results)

    @property
    def too_small(self) -> tuple[MetricResult, ...]:
        """Return the metrics whose given drop this suite would probably miss."""
        return tuple(result for result in self.results if result.power < self.gate.power)


def judge(before: Metrics, after: Metrics, gate: GateSection) -> Comparison:
    """Compare two sides of a suite: did a metric fall by more than its tolerance and chance?

    Raises:
        EvaluationError: if the two cannot be compared; see `pairs.pair`.
    """
    gate = with_judges(gate, before, after)
    pairs = pair(before, after, gate.metrics)
    sections = [gate.metrics[key] for key in pairs.metrics]
    differences = signed_differences(pairs, sections)
    changes = compare(
        differences,
        num_views=pairs.num_views,
        num_flips=gate.num_flips,
        confidence_level=gate.confidence_level,
        generator=random_numbers(gate.seed, "gate.flips"),
    )
    power = powers(differences, sections, gate, random_numbers(gate.seed, "gate.power"))
    lost = {key for _, key in pairs.lost}
    results = tuple(
        MetricResult(
            key=key,
            section=section,
            before=_mean(pairs.before[:, column], differences[:, column]),
            after=_mean(pairs.after[:, column], differences[:, column]),
            change=changes[column],
            power=power[column],
            verdict=decide(changes[column], section, gate, lost=key in lost),
        )
        for column, (key, section) in enumerate(zip(pairs.metrics, sections, strict=True))
    )
    return Comparison(before, after, pairs, gate, results)


def signed_differences(
    pairs: Pairs, sections: list[GatedMetricSection]
) -> Float[np.ndarray, "assets metrics"]:
    """Return after minus before, with the sign flipped for metrics where lower is better."""
    better = np.array([1.0 if section.better == "higher" else -1.0 for section in sections])
    return (pairs.after - pairs.before) * better


def decide(
    change: Change, section: GatedMetricSection, gate: GateSection, *, lost: bool
) -> Verdict:
    """Return the verdict on a metric; `lost` means that an asset is no longer measured."""
    if lost:
        return Verdict.LOST
    if change.num_assets == 0:
        return Verdict.UNMEASURED
    if change.mean >= 0:
        return Verdict.HELD
    if -change.mean <= section.tolerance + _ROUNDING:
        return Verdict.SMALL
    if change.p_family <= gate.significance:
        return Verdict.FELL
    return Verdict.TOO_FEW if change.least_p > gate.significance else Verdict.MAYBE


def _mean(values: Float[np.ndarray, " assets"], differences: Float[np.ndarray, " assets"]) -> float:
    """Return the mean over the assets that both sides measured, NaN if there are none."""
    both = values[~np.isnan(differences)]
    return float(both.mean()) if len(both) else float("nan")
