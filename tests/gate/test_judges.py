"""Several judges before the gate: a fall that one of them sees is refused."""

from typing import Any

import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate.judges import with_judges
from dreamfusion_kit.gate.metrics import Metrics
from dreamfusion_kit.gate.verdict import judge
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection

from .conftest import as_metrics, made_rows

OTHER = "judges.b16.r_precision.color"


def judged(rows: list[dict[str, Any]], shift: float = 0.0, **changes: Any) -> Metrics:
    """Return the metrics with those of a second judge, who sees `shift` more than the first."""
    both = [
        {**row, "metrics": {**row["metrics"], OTHER: row["metrics"]["r_precision.color"] + shift}}
        for row in rows
    ]
    return as_metrics(both, **({"other_judges": {"b16": {"name": "B/16"}}} | changes))


def test_each_judge_is_watched_with_the_limits_of_the_first(gate: GateSection) -> None:
    metrics = judged(made_rows(4, 0))
    assert list(with_judges(gate, metrics).metrics) == [*gate.metrics, OTHER]
    assert with_judges(gate, metrics).metrics[OTHER] == gate.metrics["r_precision.color"]
    assert with_judges(gate, as_metrics(made_rows(4, 0))) == gate


def test_limits_of_its_own_come_first(gate: GateSection) -> None:
    own = GatedMetricSection(better="higher", tolerance=0.5, spread=0.2, drop=0.1)
    gate = gate.model_copy(update={"metrics": {**gate.metrics, OTHER: own}})
    assert with_judges(gate, judged(made_rows(4, 0))).metrics[OTHER] == own


def test_a_fall_that_one_judge_sees_is_refused(gate: GateSection) -> None:
    rows = made_rows(16, 0)
    fallen = judge(judged(rows), judged(rows, -0.3, code={}), gate)
    assert fallen.refused
    assert [result.key for result in fallen.results if result.refuses] == [OTHER]
    assert not judge(judged(rows), judged(rows, code={}), gate).refused


def test_other_judges_are_another_protocol(gate: GateSection) -> None:
    rows = made_rows(4, 0)
    with pytest.raises(
        EvaluationError, match=r"^other_judges: found .*, expected the same protocol"
    ):
        judge(judged(rows), judged(rows, other_judges={"b16": {"name": "L/14"}}), gate)
