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
from dreamfusion_kit.recipe.schema import Recipe, RefineSection, SurfacePenaltiesSection
from dreamfusion_kit.records import Cameras, Lighting, Rays, RenderOutput, Surface
from dreamfusion_kit.shape import smoothness
from dreamfusion_kit.shape.adjacency import Edges, shared_edges
from dreamfusion_kit.shape.model import SurfaceModel

DrawBackground = Callable[[Rays, torch.Generator], Float[Tensor, "batch h w 3"]]
_PREFIX = "surface/"


def surface_method(recipe: Recipe, section: RefineSection) -> Method:
    """Return the sections of the second stage."""
    return Method(
        guidance=section.guidance,
        camera=section.camera,
        light=recipe.light,
        shading=section.shading,
        optimize=section.optimize,
        streams="refine-",
    )


@final
class SurfaceTrainee:
    """A surface's rasterised pictures, and the penalties on its shape."""

    def __init__(
        self, section: RefineSection, model: SurfaceModel, draw_background: DrawBackground
    ) -> None:
        """Optimise `model` in place, over backgrounds like the first stage's, which stay."""
        self._section = section
        self._draw_background = draw_background
        self.model = model

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the model's."""
        return self.model.parameter_groups()

    def set_step(self, step: int) -> None:
        """Do nothing: no part depends on the step."""

    def training_views(
        self, cameras: Cameras, lighting: Lighting, step: int, draw: Draw
    ) -> TrainingViews:
        """Draw the present surface; some views show its normals instead of colours."""
        with torch.no_grad():
            background = self._draw_background(pixel_rays(cameras), draw("background"))
        surface = self.model.surface()
        if len(surface.faces) == 0:
            raise NumericsError(
                f"step {step}: the surface has vanished, expected triangles; lower "
                "refine.representation.learning_rate or the lambdas of refine.optimize.penalties"
            )
        output = self.model.render(surface, cameras, lighting, background)
        together = cameras.views_per_object  # a group shows one kind of picture
        objects = len(cameras.positions) // together
        shows = uniform((objects,), 0.0, 1.0, draw("normal-map")) < (
            self._section.normal_map_probability
        )
        shows = shows.repeat_interleave(together) if together > 1 else shows
        return TrainingViews(
            _with_normal_maps(output, background, shows),
            background,
            lambda: _penalties(self._section.optimize.penalties, surface, step),
            lambda guidance, terms, parameters: None,
        )

    def complaints(self, history: Sequence[StepMetrics]) -> list[str]:
        """Return nothing: what these penalties contribute is not measured."""
        return []

    def preview(
        self, cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw the present surface."""
        return self.model.render(self.model.surface(), cameras, lighting, background).image

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the model's."""
        return {f"{_PREFIX}{name}": value for name, value in self.model.state_dict().items()}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the model's."""
        self.model.load_state_dict(under(_PREFIX, tensors))


def _with_normal_maps(
    output: RenderOutput, background: Float[Tensor, "batch h w 3"], shows: Bool[Tensor, " batch"]
) -> RenderOutput:
    """Replace the images that `shows` names by normals as (n + 1) / 2 over the background."""
    opacity = output.opacity[..., None]
    maps = 0.5 * (output.normals + opacity) + (1 - opacity) * background
    return replace(output, image=torch.where(shows[:, None, None, None], maps, output.image))


def _penalties(
    section: SurfacePenaltiesSection, surface: Surface, step: int
) -> dict[Penalty, Float[Tensor, ""]]:
    """Return each penalty times its lambda at `step`; those whose lambda is 0 cost nothing."""
    terms: tuple[tuple[Penalty, Scheduled, Callable[[Surface, Edges], Tensor]], ...] = (
        ("normal_consistency", section.normal_consistency_lambda, smoothness.normal_consistency),
        ("laplacian", section.laplacian_lambda, smoothness.laplacian),
        ("edge_length", section.edge_length_lambda, smoothness.edge_length),
    )
    weights = {name: value_at(schedule, step) for name, schedule, _ in terms}
    if not any(weights.values()):
        return {}
    edges = shared_edges(surface.faces)
    return {
        name: weights[name] * penalty(surface, edges)
        for name, _, penalty in terms
        if weights[name] > 0
    }
