"""The blob that an optimisation starts from."""

from typing import Annotated, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Length, RawDensity, Section

BiasStage = Literal["pre", "post"]
BIAS_STAGE = "Whether it is added before (pre) or after (post) the density activation."


class GaussianBiasSection(Section):
    """DreamFusion's initial blob: scale * exp(-|x|^2 / (2 std^2)) (DF A.2)."""

    kind: Literal["gaussian"] = Field(description="A Gaussian blob at the origin.")
    stage: BiasStage = Field(description=f"{BIAS_STAGE} DF leaves it open.")
    scale: RawDensity = Field(description="Height at the origin (DF: 5).")
    std: Length = Field(description="Width of the blob, scene units (DF: 0.2).")


class ConeBiasSection(Section):
    """Magic3D's initial blob: scale * (1 - |x| / radius), negative outside (2211.10440)."""

    kind: Literal["cone"] = Field(description="A cone over the distance from the origin.")
    stage: BiasStage = Field(description=f"{BIAS_STAGE} Magic3D: pre.")
    scale: RawDensity = Field(description="Height at the origin (Magic3D: 10).")
    radius: Length = Field(description="Where the cone crosses 0, scene units (Magic3D: 0.5).")


DensityBiasSection = Annotated[GaussianBiasSection | ConeBiasSection, Field(discriminator="kind")]
