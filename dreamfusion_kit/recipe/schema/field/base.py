"""What every field says, and the density that it may start from."""

from typing import Protocol

from dreamfusion_kit.recipe.schema.field.density_bias import DensityBiasSection

# The keys that every field shares are repeated in each, so that a section can be read alone.
BOUNDING_RADIUS = "Radius of the sphere outside of which space is empty, scene units (DF A.2: 1.4)."
DENSITY_ACTIVATION = "What makes the raw density non-negative (DF A.2: exp)."
DENSITY_OFFSET = "Added to the raw density before the activation; negative makes space empty."

# exp() overflows float32 at 88; a network's own output is added on top.
_MAX_EXPONENT = 60


class StartingField(Protocol):
    """What decides a field's density at step 0."""

    @property
    def density_activation(self) -> str:
        """Return the activation."""
        ...

    @property
    def density_bias(self) -> DensityBiasSection:
        """Return the blob."""
        ...

    @property
    def density_offset(self) -> float:
        """Return what is added to the raw density."""
        ...


def check_exponent(section: StartingField) -> None:
    """Refuse an initial density that is not finite in float32."""
    bias = section.density_bias.scale if section.density_bias.stage == "pre" else 0.0
    exponent = section.density_offset + max(bias, 0.0)
    if section.density_activation == "exp" and exponent > _MAX_EXPONENT:
        raise ValueError(
            f"found an initial density of exp({exponent:g}) from density_offset and "
            f"density_bias.scale, expected exp({_MAX_EXPONENT}) at most; lower them, or use the "
            "activation softplus"
        )
