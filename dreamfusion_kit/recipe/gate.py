"""The schema of the regression gate: how large a fall of each metric is refused.

It is the `gate:` block of the root params.yaml, beside the evaluation protocol. Every number
in it is measured; `measured` says how.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import Document
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.schema import NonNegative, Positive, Section, Seed
from dreamfusion_kit.recipe.schema.base import METRIC_KEY


class GatedMetricSection(Section):
    """One metric that the gate watches, in the units of the metric itself."""

    better: Literal["higher", "lower"] = Field(description="Which way is better.")
    tolerance: NonNegative = Field(
        description="A fall of the suite's mean up to this is accepted, however certain it is."
    )
    spread: Positive = Field(
        description="Standard deviation, over assets, of the difference between two seeds."
    )
    drop: Positive = Field(description="The fall of the suite's mean that the suite must see.")


class GateSection(Section):
    """When a change of quality is refused."""

    measured: str = Field(
        min_length=1, max_length=2000, description="How tolerances and spreads were measured."
    )
    significance: Annotated[float, Field(ge=1e-6, le=0.5)] = Field(
        description="Highest chance of refusing a change that changes nothing, over all metrics."
    )
    power: Annotated[float, Field(ge=0.01, le=0.999)] = Field(
        description="Least chance of seeing a metric's `drop`; with less a suite is too small."
    )
    confidence_level: Annotated[float, Field(ge=0.5, le=0.999)] = Field(
        description="Coverage of the interval of each change."
    )
    num_flips: Annotated[int, Field(ge=1000, le=1_000_000)] = Field(
        description="Sign flips drawn where a suite has too many assets to try all of them."
    )
    seed: Seed = Field(description="Seed of the drawn sign flips and of the power's simulation.")
    view_cosine_spread: Positive = Field(
        description="Standard deviation, over views, of a cosine's difference between two seeds."
    )
    metrics: dict[Annotated[str, Field(pattern=METRIC_KEY)], GatedMetricSection] = Field(
        min_length=1, description="The watched metrics by their key in metrics/<suite>.json."
    )


class GateFile(Section):
    """The part of params.yaml that the gate reads."""

    gate: GateSection = Field(description="When a change of quality is refused.")


def load_gate(path: Path) -> GateSection:
    """Return the `gate:` block of the params.yaml at `path`.

    Raises:
        RecipeError: if there is none, or with one line per problem in it.
    """
    document = load_yaml(path)
    if "gate" not in document.data:
        raise RecipeError(
            f"{path}: found no gate: block, expected the watched metrics with their tolerances; "
            "copy one from docs/gate.md"
        )
    return validate(Document({"gate": document.data["gate"]}, document.places), GateFile).gate
