"""How often does the gate raise a false alarm, and how deep a fall does it see?

python scripts/gate_study.py docs/gate/toybox-16-seeds.csv

The file holds the numbers of docs/toybox.md for each asset of toybox-16 with two seeds. Prints two
Markdown tables: false alarms in suites resampled from these pairs, sides at random; and false
alarms and falls seen in suites drawn from a model fitted to them. In the model an asset has a
hit rate of its own, each seed moves it, and views are drawn by the rate that results, so that
the views of one asset are not independent (a beta-binomial); IoU moves by a normal amount.
Needs gate: in params.yaml.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamfusion_kit.gate.chance import Differences, compare, random_numbers
from dreamfusion_kit.gate.verdict import Verdict, decide
from dreamfusion_kit.recipe.gate import GateSection, load_gate

NUM_SUITES = 1000
NUM_VIEWS = 8
NUM_ASSETS = (4, 8, 16, 64, 128)
DROPS = (0.05, 0.10, 0.20)
NUM_FLIPS = 2000
HITS = ("r_precision.color", "object_precision.geometry")  # shares of views
FALLING = HITS[0]


@dataclass(frozen=True)
class Hits:
    """How a share of hits moves: between assets, between seeds, between views.

    `own` and `seed` are the variances of an asset's own rate and of a seed's move, each as a
    share of rate * (1 - rate); 0 and 0 would make all views of a suite independent.
    """

    rate: float
    own: float
    seed: float

    @classmethod
    def fit(cls, first: np.ndarray, second: np.ndarray) -> "Hits":
        """Return the moments of the same assets with two seeds."""
        means = (first + second) / 2
        rate = float(means.mean())
        within = float(((first - second) ** 2).mean() / 2)
        between = max(float(means.var(ddof=1)) - within / 2, 1e-4)
        # For one asset: a seed's move, and the draw of its views with variance p (1 - p) / views.
        spare = rate * (1 - rate) - between  # the mean of p (1 - p) over assets
        seed = (within / spare - 1 / NUM_VIEWS) / (1 - 1 / NUM_VIEWS)
        return cls(rate, between / (rate * (1 - rate)), min(max(seed, 1e-3), 0.99))

    def pair(
        self, number: int, drop: float, draws: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return both sides' shares; the second side's rate is lower by `drop`."""
        own = _beta(np.full(number, self.rate), self.own, draws)
        sides = (_beta(own, self.seed, draws) * kept for kept in (1.0, 1 - drop / self.rate))
        before, after = (draws.binomial(NUM_VIEWS, side) / NUM_VIEWS for side in sides)
        return before, after


def _beta(mean: np.ndarray, share: float, draws: np.random.Generator) -> np.ndarray:
    """Draw rates of these means with a variance of share * mean * (1 - mean)."""
    total = 1 / share - 1
    inner = np.clip(mean, 1e-4, 1 - 1e-4)
    return draws.beta(inner * total, (1 - inner) * total)


@dataclass(frozen=True)
class Model:
    """How the watched metrics of a suite move."""

    hits: dict[str, Hits]
    spreads: dict[str, float]  # standard deviation of one asset's difference, other metrics

    def suite(
        self, number: int, drop: float, keys: Sequence[str], draws: np.random.Generator
    ) -> Differences:
        """Return the differences of one suite, in which `FALLING` falls by `drop`."""
        columns: dict[str, np.ndarray] = {}
        for key, hits in self.hits.items():
            before, after = hits.pair(number, drop if key == FALLING else 0.0, draws)
            columns[key] = after - before
        for key, spread in self.spreads.items():
            columns[key] = draws.normal(0.0, spread, size=number)
        return np.column_stack([columns[key] for key in keys])


def read(path: Path) -> dict[str, np.ndarray]:
    """Return each metric as `seeds assets`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [key for key in rows[0] if key not in ("asset", "seed")]
    seeds = [[row for row in rows if row["seed"] == seed] for seed in ("0", "1")]
    assert [row["asset"] for row in seeds[0]] == [row["asset"] for row in seeds[1]]
    return {key: np.array([[float(row[key]) for row in side] for side in seeds]) for key in keys}


def fit(measured: dict[str, np.ndarray]) -> Model:
    """Return the model of two seeds' numbers."""
    hits = {key: Hits.fit(*measured[key]) for key in HITS}
    spreads = {
        key: float(np.diff(values, axis=0).std(ddof=1))
        for key, values in measured.items()
        if key not in HITS
    }
    return Model(hits, spreads)


def refuses(differences: Differences, gate: GateSection, draws: np.random.Generator) -> bool:
    """Apply the gate's rule."""
    changes = compare(
        differences,
        num_views=NUM_VIEWS,
        num_flips=NUM_FLIPS,
        confidence_level=gate.confidence_level,
        generator=draws,
    )
    sections = gate.metrics.values()
    return any(
        decide(change, section, gate, lost=False) is Verdict.FELL
        for change, section in zip(changes, sections, strict=True)
    )


def narrowed(gate: GateSection, keys: Sequence[str], *, tolerance: bool) -> GateSection:
    """Return the gate over `keys`; without tolerances, chance alone decides."""
    change: dict[str, Any] = {} if tolerance else {"tolerance": 0.0}
    sections = {key: gate.metrics[key].model_copy(update=change) for key in keys}
    return gate.model_copy(update={"metrics": sections})


def resampled(measured: dict[str, np.ndarray], gate: GateSection) -> str:
    """Return the table of false alarms in suites of real pairs."""
    keys = list(measured)
    real = np.column_stack([values[1] - values[0] for values in measured.values()])
    lines = ["| assets drawn | false alarms | by chance alone |", "|---:|---:|---:|"]
    for number in NUM_ASSETS:
        cells: list[str] = []
        for tolerance in (True, False):
            rule = narrowed(gate, keys, tolerance=tolerance)
            draws = random_numbers(gate.seed, f"study.pairs.{number}")
            refused = 0
            for _ in range(NUM_SUITES):
                rows = draws.integers(0, len(real), size=number)
                signs = 1.0 - 2.0 * draws.integers(0, 2, size=(number, 1))
                refused += refuses(signs * real[rows], rule, draws)
            cells.append(f"{100 * refused / NUM_SUITES:.1f} %")
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def simulated(model: Model, gate: GateSection, keys: Sequence[str]) -> str:
    """Return the table of false alarms and of falls seen in suites of the model."""
    falls = " | ".join(f"falls by {100 * drop:g} points" for drop in DROPS)
    lines = [f"| assets | false alarms | by chance alone | {falls} |", "|---:|" + "---:|" * 5]
    rule = narrowed(gate, keys, tolerance=True)
    bare = narrowed(gate, keys, tolerance=False)
    for number in NUM_ASSETS:
        cells: list[str] = []
        for drop, used in ((0.0, rule), (0.0, bare), *((drop, rule) for drop in DROPS)):
            draws = random_numbers(gate.seed, f"study.model.{number}.{drop}")
            suites = (model.suite(number, drop, keys, draws) for _ in range(NUM_SUITES))
            refused = sum(refuses(suite, used, draws) for suite in suites)
            cells.append(f"{100 * refused / NUM_SUITES:.1f} %")
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(path: str = "") -> None:
    """Print the tables."""
    if not path:
        raise SystemExit(__doc__)
    gate = load_gate(Path("params.yaml"))
    measured = read(Path(path))
    model = fit(measured)
    for key, hits in model.hits.items():
        print(f"{key}: rate {hits.rate:.3f}, own {hits.own:.2f}, seed {hits.seed:.2f}")
    for key, spread in model.spreads.items():
        print(f"{key}: spread {spread:.4f}")
    print(f"\n{resampled(measured, gate)}\n\n{simulated(model, gate, list(measured))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
