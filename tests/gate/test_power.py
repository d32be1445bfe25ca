import numpy as np

from dreamfusion_kit.gate.chance import compare, random_numbers
from dreamfusion_kit.gate.power import powers
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection


def one_metric(gate: GateSection, **changes: object) -> GateSection:
    section = gate.metrics["iou"].model_copy(update=changes)
    return gate.model_copy(update={"metrics": {"iou": section}})


def power_of(differences: np.ndarray, gate: GateSection) -> float:
    sections = list(gate.metrics.values())
    return powers(differences[:, None], sections, gate, random_numbers(0, "gate.power"))[0]


def test_power_is_how_often_the_gate_refuses(gate: GateSection) -> None:
    """Against an outright simulation by fresh normal suites and the test itself."""
    one = one_metric(gate, tolerance=0.02, spread=0.05, drop=0.05)
    draws = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        d = draws.normal(-0.05, 0.05, size=16)
        (found,) = compare(
            d[:, None], num_views=8, num_flips=2000, confidence_level=0.95, generator=draws
        )
        refused += found.p_family <= 0.05 and -found.mean > 0.02
    simulated = power_of(np.zeros(16), one)  # no difference seen: the spread alone decides
    assert abs(simulated - refused / 400) < 0.08


def test_power_grows_with_assets_and_drop(gate: GateSection) -> None:
    one = one_metric(gate, spread=0.1, drop=0.05)
    sizes = [power_of(np.zeros(number), one) for number in (8, 32, 128)]
    assert sizes[0] < 0.5 < 0.95 < sizes[2]
    assert sizes == sorted(sizes)
    assert power_of(np.zeros(8), one_metric(gate, spread=0.1, drop=0.3)) > 0.95


def test_seen_spread_counts_where_it_is_larger(gate: GateSection) -> None:
    one = one_metric(gate, spread=0.02, drop=0.05)
    wide = np.random.default_rng(2).normal(0, 0.3, size=16)
    assert power_of(np.zeros(16), one) > 0.95
    assert power_of(wide, one) < 0.4


def test_four_assets_have_no_power(gate: GateSection) -> None:
    assert power_of(np.zeros(4), one_metric(gate, spread=0.01, drop=0.5)) == 0.0


def test_unmeasured_metric_has_none(gate: GateSection) -> None:
    sections: list[GatedMetricSection] = list(gate.metrics.values())
    d = np.zeros((8, 3))
    d[:, 1] = np.nan
    found = powers(d, sections, gate, random_numbers(0, "gate.power"))
    assert np.isnan(found).tolist() == [False, True, False]
