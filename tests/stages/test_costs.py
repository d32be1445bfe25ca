"""What an asset took, beside its metrics."""

from dreamfusion_kit.stages.costs import COSTS, cost_numbers, cost_summary

from dreamfusion_kit.evaluation.entry import CostRow


def test_the_mean_time_and_the_most_memory_count() -> None:
    costs = [
        CostRow(seconds=10.0, peak_memory_bytes=7),
        CostRow(seconds=20.0, peak_memory_bytes=5),
    ]
    assert cost_summary(costs) == {"seconds_per_asset": 15.0, "peak_memory_bytes": 7.0}
    assert cost_summary([]) == {}
    assert list(cost_numbers(costs[0])) == [cost.key for cost in COSTS]
