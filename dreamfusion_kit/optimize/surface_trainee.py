"""A surface as the loop optimises it (Magic3D, s. 4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import uniform
from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.guidance.base import Draw
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.penalties import Penalty
from dreamfusion_kit.optimize.trainee import Method, TrainingViews
from dreamfusion_kit.optimizer_state import under
from dreamfusion_kit.recipe.schedule import Scheduled, value_at
from dreamfusion_kit.recipe.schema import (
    Recipe,
    RefinePhaseSection,
    RefineSection,
    SurfacePenaltiesSection,
)
from dreamfusion_kit.records import Cameras, Lighting, Rays, RenderOutput, Surface
from dreamfusion_kit.shape import smoothness
from dreamfusion_kit.shape.adjacency import Edges, shared_edges
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.representation import Regularized

DrawBackground = Callable[[Rays, torch.Generator], Float[Tensor, "batch h w 3"]]
_PREFIX = "surface/"


def surface_method(recipe: Recipe, section: RefineSection, index: int) -> Method:
    """Return the sections of a phase of the second stage, the first of which has index 0."""
    phase = section.phases[index]
    return Method(
        guidance=phase.guidance,
        camera=phase.camera,
        light=recipe.light,
        shading=phase.shading,
        optimize=phase.optimize,
        streams="refine-" if index == 0 else f"refine-{index + 1}-",
        place=f"refine.phases[{index}].",
    )


@final
class SurfaceTrainee:
    """A surface's rasterised pictures, and the penalties on its shape."""

    def __init__(
        self, phase: RefinePhaseSection, model: SurfaceModel, draw_background: DrawBackground
    ) -> None:
        """Optimise what the phase learns of `model` in place; the rest is frozen.

        Backgrounds are like the first stage's, which stay.
        """
        self._phase = phase
        self._draw_background = draw_background
        self.model = model.requires_grad_(False)
        for group in self.parameter_groups():
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        self._fixed = None if "geometry" in phase.parts else self._unchanging()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return those of the parts that the phase learns."""
        return self.model.parameter_groups(self._phase.parts)

    def set_step(self, step: int) -> None:
        """Do nothing: no part depends on the step."""

    def training_views(
        self, cameras: Cameras, lighting: Lighting, step: int, draw: Draw
    ) -> TrainingViews:
        """Draw the present surface; some views show its normals instead of colours."""
        with torch.no_grad():
            background = self._draw_background(pixel_rays(cameras), draw("background"))
        found = self._found()
        surface = found.surface
        if len(surface.faces) == 0:
            raise NumericsError(
                f"step {step}: the surface has vanished, expected triangles; lower "
                "refine.representation.learning_rate or the lambdas of the phase's "
                "optimize.penalties"
            )
        output = self._render(surface, cameras, lighting, background)
        together = cameras.views_per_object  # a group shows one kind of picture
        objects = len(cameras.positions) // together
        shows = uniform((objects,), 0.0, 1.0, draw("normal-map")) < (
            self._phase.normal_map_probability
        )
        shows = shows.repeat_interleave(together) if together > 1 else shows
        return TrainingViews(
            _with_normal_maps(output, background, shows),
            background,
            lambda: _penalties(self._phase.optimize.penalties, found, step),
            lambda guidance, terms, parameters: None,
        )

    def complaints(self, history: Sequence[StepMetrics]) -> list[str]:
        """Return nothing: what these penalties contribute is not measured."""
        return []

    def preview(
        self, cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw the present surface."""
        return self._render(self._found().surface, cameras, lighting, background).image

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the model's."""
        return {f"{_PREFIX}{name}": value for name, value in self.model.state_dict().items()}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the model's."""
        self.model.load_state_dict(under(_PREFIX, tensors))
        if self._fixed is not None:
            self._fixed = self._unchanging()

    def _unchanging(self) -> Regularized:
        """Return the present surface without its penalty, which has no gradient."""
        return Regularized(self.model.surface(), None)

    def _found(self) -> Regularized:
        """Return the present surface, which is the same at every step if its shape stays."""
        return self.model.regularized() if self._fixed is None else self._fixed

    def _render(
        self,
        surface: Surface,
        cameras: Cameras,
        lighting: Lighting,
        background: Float[Tensor, "batch h w 3"],
    ) -> RenderOutput:
        fine = self._phase.supersampling
        return self.model.render(surface, cameras, lighting, background, supersampling=fine)


def _with_normal_maps(
    output: RenderOutput, background: Float[Tensor, "batch h w 3"], shows: Bool[Tensor, " batch"]
) -> RenderOutput:
    """Replace the images that `shows` names by normals as (n + 1) / 2 over the background."""
    opacity = output.opacity[..., None]
    maps = 0.5 * (output.normals + opacity) + (1 - opacity) * background
    return replace(output, image=torch.where(shows[:, None, None, None], maps, output.image))


def _penalties(
    section: SurfacePenaltiesSection, found: Regularized, step: int
) -> dict[Penalty, Float[Tensor, ""]]:
    """Return each penalty times its lambda at `step`; those whose lambda is 0 cost nothing."""
    terms: tuple[tuple[Penalty, Scheduled, Callable[[Surface, Edges], Tensor]], ...] = (
        ("normal_consistency", section.normal_consistency_lambda, smoothness.normal_consistency),
        ("laplacian", section.laplacian_lambda, smoothness.laplacian),
        ("edge_length", section.edge_length_lambda, smoothness.edge_length),
    )
    weights = {name: value_at(schedule, step) for name, schedule, _ in terms}
    penalties: dict[Penalty, Float[Tensor, ""]] = {}
    if any(weights.values()):
        edges = shared_edges(found.surface.faces)
        for name, _, penalty in terms:
            if weights[name] > 0:
                penalties[name] = weights[name] * penalty(found.surface, edges)
    if found.penalty is not None:
        penalties["deviation"] = found.penalty
    return penalties
