"""MVDream's loss."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


class X0ReconstructionSection(ScoreGuidanceSection):
    """MVDream's loss, the squared error of the clean image (arXiv 2308.16512, s. 3.2).

    Its `guidance_rescale` acts on the prior's estimate of the clean image (MVDream: 0.5).
    """

    kind: Literal["x0_reconstruction"] = Field(
        description="Distance to the clean image that the prior sees; for any diffusion prior."
    )

    @property
    def divides_by_signal(self) -> bool:
        """Return True: the estimate of the clean image does."""
        return True

    @model_validator(mode="after")
    def _weighs_an_image(self) -> Self:
        if self.timestep_weight not in ("uniform", "sigma_squared"):
            raise ValueError(
                f"found timestep_weight {self.timestep_weight} with kind x0_reconstruction, "
                "expected uniform (MVDream's) or sigma_squared: the error is the clean image's "
                "already"
            )
        return self
