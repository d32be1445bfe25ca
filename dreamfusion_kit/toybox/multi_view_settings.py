"""How the toybox's multi-view prior is fine-tuned: `multi_view` of `toybox/params.yaml`."""

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema import (
    Count,
    Fraction,
    LightSection,
    NonNegative,
    Positive,
    ShadingSection,
    WorkspacePath,
)
from dreamfusion_kit.toybox.training_settings import (
    ObjectWeights,
    OneSizeCamera,
    TrainingSection,
)


class MultiViewTrainingSection(TrainingSection):
    """Attention across views and the camera's embedding; the rest of the prior stays.

    `batch_size` counts images, the views of `batch_size / camera.object_views.count` objects.
    """

    initial: WorkspacePath = Field(
        description="Diffusers directory of the latent prior, relative to the workspace."
    )
    camera: OneSizeCamera = Field(description="Where the views of one object are taken from.")
    light: LightSection
    shading: ShadingSection
    object_weights: ObjectWeights = Field(
        description="How often each object is drawn, relative to the others. All are named."
    )
    objects_per_shelf: Count = Field(
        description="Objects that are rendered at once, from all their views."
    )
    backgrounds_per_object: Count = Field(
        description="How often each object is encoded, each time over other backgrounds."
    )
    steps_per_shelf: Count = Field(
        description="Steps that draw from them, before others are rendered."
    )
    caption_dropout: Fraction = Field(
        description="Share of empty captions (Ho & Salimans 2022), with which the camera is to "
        "mean nothing either."
    )
    timestep_power: Positive = Field(
        description="Timesteps are drawn as u^power of the diffusion time, u uniform in [0, 1)."
    )
    camera_rate: Positive = Field(
        description="Factor on the learning rate of the camera's embedding, which starts from "
        "zero and has to become as large as that of the time."
    )
    teacher_lambda: NonNegative = Field(
        description="Weight of the squared distance to what the single-view prior predicts when "
        "its caption names the view. Its prediction has no noise of its own, so the camera is "
        "learned from it in fewer steps than from renders."
    )
    ema_decay: Fraction = Field(description="Decay of the averaged weights that are shipped.")

    @property
    def num_views(self) -> int:
        """Return the views of one object."""
        return self.camera.views_per_object

    @model_validator(mode="after")
    def _has_whole_groups(self) -> "MultiViewTrainingSection":
        if self.camera.object_views is None or self.batch_size % self.num_views:
            raise ValueError(
                f"found batch_size {self.batch_size} with {self.num_views} views of an object, "
                "expected camera.object_views, and a multiple of its count"
            )
        return self
