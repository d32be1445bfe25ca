"""A gate on every judge: a metric that one judge gives is watched for the others too."""

from dreamfusion_kit.gate.metrics import Metrics
from dreamfusion_kit.recipe.gate import GateSection


def with_judges(gate: GateSection, *sides: Metrics) -> GateSection:
    """Return the gate with `judges.NAME.KEY` for each watched KEY and further judge of a side.

    It has KEY's limits unless it has some of its own: those were measured with another judge, so
    measure them where it matters.
    """
    names = dict.fromkeys(name for side in sides for name in side.other_judges)
    known = {key for side in sides for row in side.assets.values() for key in row.metrics}
    metrics = dict(gate.metrics)
    for name in names:
        for key, section in gate.metrics.items():
            if f"judges.{name}.{key}" in known:
                metrics.setdefault(f"judges.{name}.{key}", section)
    return gate.model_copy(update={"metrics": metrics})
