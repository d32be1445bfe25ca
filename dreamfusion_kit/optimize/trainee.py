"""What the loop optimises, as the loop sees it, and the sections that it runs by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.guidance.base import Draw
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.penalties import Penalty
from dreamfusion_kit.optimize.shares import GradientNorms
from dreamfusion_kit.recipe.schema import (
    CameraSection,
    GuidanceSection,
    LightSection,
    OptimizeSection,
    RefineOptimizeSection,
    ShadingSection,
)
from dreamfusion_kit.records import Cameras, GuidanceOutput, Lighting, RenderOutput


@dataclass(frozen=True)
class Method:
    """The sections of a recipe that one stage's optimisation runs by.

    `streams` is put before the name of every stream of random numbers, so that two optimisations of
    one asset do not draw the same. `place` is the key of the section that they stand in, with its
    dot; empty for the recipe itself.
    """

    guidance: GuidanceSection
    camera: CameraSection
    light: LightSection
    shading: ShadingSection
    optimize: OptimizeSection | RefineOptimizeSection
    streams: str
    place: str = ""


Penalties = Mapping[Penalty, Float[Tensor, ""]]


@dataclass(frozen=True)
class TrainingViews:
    """A step's render over its background, and what is computed once the guidance is known.

    `penalties` gives the weighted penalties on the render; `norms` what each contributes beside
    the guidance, None where that is not measured.
    """

    output: RenderOutput
    background: Float[Tensor, "batch h w 3"]
    penalties: Callable[[], Penalties]
    norms: Callable[[GuidanceOutput, Penalties, list[Parameter]], GradientNorms | None]


@runtime_checkable  # beartype checks it in the tests
class Trainee(Protocol):
    """A model that the loop optimises through its renders."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once, with its learning rate."""
        ...

    def set_step(self, step: int) -> None:
        """Set all parts to their state at optimiser step `step`, a pure function of it."""
        ...

    def training_views(
        self, cameras: Cameras, lighting: Lighting, step: int, draw: Draw
    ) -> TrainingViews:
        """Render the views of a step."""
        ...

    def preview(
        self, cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        """Render images for people."""
        ...

    def complaints(self, history: Sequence[StepMetrics]) -> list[str]:
        """Return what the last step of the history shows to be out of proportion."""
        ...

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state, for a checkpoint."""
        ...

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` gave; RuntimeError or KeyError if it does not fit."""
        ...
