"""The memory of priors in a recipe's stages, and in variants of the recipe: each step once.

A refinement's phases, and a recipe with one key changed, mostly ask a prior for steps of the same
kind. To count one takes a second for a large model.
"""

from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.components import second_of
from dreamfusion_kit.memory.prior import PriorMemory, prior_memory
from dreamfusion_kit.recipe.schema import (
    CameraSection,
    GuidanceSection,
    PriorSection,
    Recipe,
    RefinePhaseSection,
)

# All that decides the memory of a prior's step.
_Kind = tuple[bool, str, int, int | None, bool, int, int]


class PriorSteps:
    """Counts the steps of one recipe's priors; what is known is not counted again."""

    def __init__(self, parts: Components) -> None:
        """Take the configurations that `components.all_components` gave for the recipe."""
        self._parts = parts
        self._known: dict[_Kind, PriorMemory] = {}

    def first(self, recipe: Recipe) -> PriorMemory:
        """Return the memory of the prior in the first stage."""
        return self._step(
            recipe.prior,
            recipe.guidance,
            recipe.optimize.batch_size,
            recipe.camera,
            is_second=False,
        )

    def of_phase(self, recipe: Recipe, phase: RefinePhaseSection) -> PriorMemory:
        """Return the memory of the prior in a phase of the refinement."""
        own = None if recipe.refine is None else recipe.refine.prior
        return self._step(
            recipe.prior if own is None else own,
            phase.guidance,
            phase.optimize.batch_size,
            phase.camera,
            is_second=own is not None,
        )

    def _step(
        self,
        section: PriorSection,
        guidance: GuidanceSection,
        batch_size: int,
        camera: CameraSection,
        *,
        is_second: bool,
    ) -> PriorMemory:
        size_px = camera.largest_image_size_px
        kind = (
            is_second,
            # Where the weights wait does not change how many there are.
            section.model_dump_json(exclude={"cpu_offload"}),
            guidance.num_texts,
            guidance.adapter_rank,
            guidance.phi_source is None,
            batch_size,
            size_px,
        )
        if kind not in self._known:
            parts = second_of(self._parts) if is_second else self._parts
            self._known[kind] = prior_memory(
                section, guidance, parts, batch_size=batch_size, render_size_px=size_px
            )
        return self._known[kind]
