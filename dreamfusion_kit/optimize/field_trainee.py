"""A radiance field as the loop optimises it."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.guidance.base import Draw
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize import shares
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.penalties import needs_normals, weighted_penalties
from dreamfusion_kit.optimize.proportion import new_complaints
from dreamfusion_kit.optimize.trainee import Method, Penalties, TrainingViews
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.records import Cameras, Lighting


def field_method(recipe: Recipe) -> Method:
    """Return the sections of the first stage."""
    return Method(
        guidance=recipe.guidance,
        camera=recipe.camera,
        light=recipe.light,
        shading=recipe.shading,
        optimize=recipe.optimize,
        streams="",
    )


@final
class FieldTrainee:
    """A model's volume renders, and the penalties on them."""

    def __init__(self, recipe: Recipe, model: NerfModel) -> None:
        """Optimise `model`, built of `recipe`, in place."""
        self._penalties = recipe.optimize.penalties
        self.model = model

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the model's."""
        return self.model.parameter_groups()

    def set_step(self, step: int) -> None:
        """Set the model's step."""
        self.model.set_step(step)

    def training_views(
        self, cameras: Cameras, lighting: Lighting, step: int, draw: Draw
    ) -> TrainingViews:
        """Render through a background that is learned or drawn."""
        model = self.model
        model.update_occupancy(step, generator=draw("occupancy"))
        rays = pixel_rays(cameras)
        background = model.draw_background(rays, generator=draw("background"))
        output, samples = model.render_with_samples(
            rays,
            lighting,
            background,
            with_normals=needs_normals(self._penalties, step),
            generator=draw("render"),
        )

        def penalties() -> Penalties:
            return weighted_penalties(self._penalties, output.opacity, samples, model, step)

        return TrainingViews(
            output,
            background,
            penalties,
            lambda guidance, terms, parameters: shares.measure(
                guidance, terms, output, samples, parameters
            ),
        )

    def complaints(self, history: Sequence[StepMetrics]) -> list[str]:
        """Return the penalties that are out of proportion to the guidance."""
        return new_complaints(self._penalties, history)

    def preview(
        self, cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        """Render without jitter."""
        return self.model.render(pixel_rays(cameras), lighting, background).image

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the model's."""
        return self.model.state_tensors()

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the model's."""
        self.model.load_state_tensors(tensors)
