"""The optimisation loop: steps, optimiser, regularisers, watchdog."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Epsilon,
    Fraction,
    Positive,
    Schedule,
    Section,
    Steps,
)

Beta = Annotated[float, Field(ge=0, le=0.999999)]


class AdamSection(Section):
    """Adam (arXiv 1412.6980). DreamFusion used Distributed Shampoo."""

    kind: Literal["adam"] = Field(description="Adam with bias correction, no weight decay.")
    betas: tuple[Beta, Beta] = Field(
        description="Decay of the first and the second moment, in [0, 1)."
    )
    epsilon: Epsilon = Field(
        description="Added to the root of the second moment. Gradients are those of the loss "
        "summed over 4096 pixels, whatever the size of the image."
    )
    counts_steps_per_parameter: ClassVar[bool] = True


class DistributedShampooSection(Section):
    """Distributed Shampoo (arXiv 2002.09018), which preconditions by matrix roots (DF A.2)."""

    kind: Literal["distributed_shampoo"] = Field(description="Distributed Shampoo.")
    betas: tuple[Beta, Beta] = Field(
        description="Decay of the momentum and of the statistics, in [0, 1) (DF: 0.9, 0.9)."
    )
    exponent_override: int = Field(
        ge=0, le=64, description="p of the inverse p-th roots; 0 takes twice the rank (DF: 2)."
    )
    block_size: int = Field(
        ge=1, le=8192, description="Side of the blocks that matrices are cut into (DF: 128)."
    )
    graft: Literal["sqrt_n", "sgd", "adagrad", "rmsprop"] = Field(
        description="Whose step's norm each layer borrows (DF: SQRT_N, the norm of the signs)."
    )
    epsilon: float = Field(
        ge=1e-12, le=1, description="Ridge on the statistics before the root (DF: 1e-6)."
    )
    start_step: Count = Field(
        description="Count of steps from which on the direction is Shampoo's, before it the "
        "graft's (DF does not say)."
    )
    preconditioner_every_steps: Count = Field(
        description="Steps between two computations of the roots (DF does not say)."
    )
    nesterov: bool = Field(description="Whether the momentum looks ahead (DF does not say).")
    # It counts for all parameters together, including those without a gradient.
    counts_steps_per_parameter: ClassVar[bool] = False


OptimizerSection = Annotated[AdamSection | DistributedShampooSection, Field(discriminator="kind")]


class LearningRateDecaySection(Section):
    """One factor on every learning rate: a linear warm-up, then a decay (DF A.2)."""

    warmup_steps: Steps = Field(description="Steps of linear rise to 1 (DF: 3000 of 15000).")
    initial_fraction: Fraction = Field(
        description="Factor at step 0 of the warm-up; unused without one (DF: 1e-5)."
    )
    kind: Literal["none", "cosine"] = Field(description="Course after the warm-up (DF: cosine).")
    final_fraction: Fraction = Field(
        description="Factor reached at the last step; unused by none (DF: 0.01)."
    )


class PenaltiesSection(Section):
    """Multipliers of the losses beside the guidance; each may be a schedule.

    Guidance and penalties are on one scale, each a mean over views and pixels: a lambda means
    the same at every image size and batch size, in pixels and in latents. Code that sums its
    guidance over P pixels or latents has lambdas P times as large.
    """

    opacity_lambda: Schedule = Field(
        description="Of sqrt(opacity^2 + 0.01), mean over rays (DF A.2: 1e-3 to 5e-3)."
    )
    orientation_lambda: Schedule = Field(
        description="Of the penalty on normals that face away, mean over rays (DF A.2: 1e-4 to "
        "1e-2 in 5000 steps)."
    )
    entropy_lambda: Schedule = Field(
        description="Of the binary entropy of each ray's opacity in nats, mean over rays; not in "
        "DF."
    )
    distortion_lambda: Schedule = Field(
        description="Of the spread of each ray's weights, mean over rays (mip-NeRF 360, eq. 15: "
        "0.01); not in DF."
    )
    smoothness_lambda: Schedule = Field(
        description="Of the field's own total variation, mean over a voxel grid's neighbours; not "
        "in DF."
    )


class WatchdogSection(Section):
    """When to stop a run that is dead."""

    check_every_steps: Count = Field(description="Steps between two checks.")
    after_step: Steps = Field(description="Step before which nothing is checked.")
    min_opacity: Fraction = Field(
        description="Mean opacity over the image below which nothing is visible."
    )
    max_opacity: Fraction = Field(
        description="Mean opacity over the image above which fog fills everything."
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "WatchdogSection":
        if self.min_opacity >= self.max_opacity:
            raise ValueError(
                f"found min_opacity {self.min_opacity:g} and max_opacity {self.max_opacity:g}, "
                "expected min_opacity below max_opacity"
            )
        return self


class OptimizeSection(Section):
    """The optimisation of one asset."""

    num_steps: int = Field(ge=1, le=10**7, description="Optimiser steps (DF: 15000).")
    batch_size: int = Field(ge=1, le=1024, description="Views per step (DF: 4, one per TPU chip).")
    optimizer: OptimizerSection = Field(description="What turns gradients into steps.")
    learning_rate_decay: LearningRateDecaySection = Field(
        description="Course of all learning rates over the run."
    )
    max_gradient_norm: Positive | None = Field(
        description="Norm of the gradient of all parameters above which it is scaled down to it; "
        "null clips nothing (DF does not say). Of the loss summed over 4096 pixels, whatever the "
        "size of the image."
    )
    penalties: PenaltiesSection = Field(
        description="Losses beside the guidance, on its scale: all are means over pixels."
    )
    checkpoint_every_steps: Count = Field(description="Steps between two checkpoints.")
    preview_every_steps: Count = Field(description="Steps between two preview images.")
    watchdog: WatchdogSection = Field(description="When to stop a run that is dead.")

    @model_validator(mode="after")
    def _warmup_ends(self) -> "OptimizeSection":
        warmup = self.learning_rate_decay.warmup_steps
        if warmup >= self.num_steps:
            raise ValueError(
                f"found learning_rate_decay.warmup_steps {warmup} and num_steps "
                f"{self.num_steps}, expected the warm-up to be shorter"
            )
        return self
