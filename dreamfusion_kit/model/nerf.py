"""A neural radiance field and everything that renders it, as one object.

Field, background, proposal network and occupancy grid are built, optimised, saved and
rendered together. Code above this layer depends on the model and not on the kinds of its parts.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit import seeding
from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.field.build import build_field, build_proposal
from dreamfusion_kit.field.chunks import sample_in_chunks
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.model import storage
from dreamfusion_kit.model.background import Background, build_background
from dreamfusion_kit.optimizer_state import under
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.records import Lighting, Rays, RenderOutput, SampleField
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.renderer.volume import render


class NerfModel(nn.Module):
    """What a recipe optimises, and how it is rendered.

    In training mode, as built, renders skip space that the occupancy grid marks as empty. In
    evaluation mode, as loaded, they skip nothing, since the grid is not saved, and query the
    field in chunks of bounded memory.
    """

    field: Field
    background: Background
    proposal: ProposalMlp | None
    occupancy: OccupancyGrid

    def __init__(
        self, recipe: Recipe, field: Field, background: Background, proposal: ProposalMlp | None
    ) -> None:
        """Join the parts of `recipe`; every cell of the occupancy grid starts occupied."""
        super().__init__()
        self._recipe = recipe
        self.field = field
        self.background = background
        self.proposal = proposal
        self.occupancy = OccupancyGrid(recipe.renderer.occupancy, field.bounding_radius)

    @classmethod
    def build(cls, recipe: Recipe, *, seed: int) -> "NerfModel":
        """Return the model before the first step, on the CPU, where its values are drawn."""
        draw = partial(seeding.generator, seed)
        return cls(
            recipe,
            build_field(recipe.field, generator=draw("field")),
            build_background(recipe.background, generator=draw("background_mlp")),
            build_proposal(recipe.renderer, recipe.field, generator=draw("proposal")),
        )

    @classmethod
    def load(cls, directory: Path, recipe: Recipe) -> "NerfModel":
        """Return what `save` wrote, on the CPU, at the recipe's last step, for rendering.

        For fields that take turns it is the first. Raises CheckpointError where a file is
        missing, belongs to another field or holds a number that is not finite.
        """
        model = cls(
            recipe,
            storage.load_field(directory, recipe.field),
            storage.load_background(directory, recipe.background),
            storage.load_proposal(directory, recipe.renderer, recipe.field),
        )
        model.set_step(recipe.optimize.num_steps)
        return model.eval()

    def save(self, directory: Path) -> None:
        """Write each part that was learned as a file into an existing directory."""
        storage.save_field(directory, self.field, self._recipe.field)
        storage.save_background(directory, self.background)
        if self.proposal is not None:
            storage.save_proposal(directory, self.proposal, self._recipe.field)

    @property
    def device(self) -> torch.device:
        """Return where the model is and computes."""
        return next(self.parameters()).device

    @property
    def bounding_radius(self) -> float:
        """Return the radius of the ball that holds the object, in scene units."""
        return self.field.bounding_radius

    @property
    def interlevel_lambda(self) -> float:
        """Return the weight of the proposal network's loss; 0 without one."""
        return 0.0 if self.proposal is None else self.proposal.interlevel_lambda

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once: the field's, the background's, the proposal's."""
        groups = self.field.parameter_groups() + self.background.parameter_groups()
        return groups if self.proposal is None else groups + self.proposal.parameter_groups()

    def set_step(self, step: int) -> None:
        """Set all parts to their state at optimiser step `step`, a pure function of it."""
        self.field.set_step(step)
        self.occupancy.set_step(step)
        if self.proposal is not None:
            self.proposal.set_step(step)

    def update_occupancy(self, step: int, *, generator: torch.Generator) -> None:
        """Update the occupancy grid if the recipe schedules it at `step`, before the render."""
        if self.occupancy.is_due(step):
            self.occupancy.update(self.field.envelope, generator=generator)

    def smoothness(self) -> Float[Tensor, ""]:
        """Return the field's differentiable roughness; 0 where that has no meaning."""
        return self.field.smoothness()

    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the field's density per scene unit, >= 0."""
        return self.field.densities(positions)

    def albedo(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        """Return the field's albedo in [0, 1]."""
        return self.field(positions, False).albedo

    def draw_background(
        self, rays: Rays, *, generator: torch.Generator
    ) -> Float[Tensor, "batch h w 3"]:
        """Return what stands behind each pixel in training, learned or drawn."""
        return self.background(rays.directions, generator=generator)

    def render(
        self,
        rays: Rays,
        lighting: Lighting,
        background: Float[Tensor, "batch h w 3"],
        *,
        with_normals: bool = False,
        generator: torch.Generator | None = None,
    ) -> RenderOutput:
        """Render `batch h w` rays over `background`; see `renderer.volume.render`.

        Normals are also computed where any image has a diffuse light. Without a `generator`
        samples are not jittered.
        """
        output, _ = self.render_with_samples(
            rays, lighting, background, with_normals=with_normals, generator=generator
        )
        return output

    def render_with_samples(
        self,
        rays: Rays,
        lighting: Lighting,
        background: Float[Tensor, "batch h w 3"],
        *,
        with_normals: bool,
        generator: torch.Generator | None,
    ) -> tuple[RenderOutput, RaySamples]:
        """Return also what penalties on rays read, which keeps its graph alive."""
        return render(
            self._sample_field,
            rays,
            lighting,
            background,
            section=self._recipe.renderer,
            bounding_radius=self.bounding_radius,
            occupancy=self.occupancy if self.training else None,
            with_normals=with_normals,
            generator=generator,
            proposal=self.proposal,
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state of all parts, for a checkpoint, as `part/name`; see `set_step`."""
        return {
            f"{part}/{name}": tensor
            for part, module in self.named_children()
            for name, tensor in module.state_dict().items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` gave; RuntimeError if it does not fit."""
        for part, module in self.named_children():
            module.load_state_dict(under(f"{part}/", tensors))

    @property
    def _sample_field(self) -> SampleField:
        return self.field if self.training else partial(sample_in_chunks, self.field)
