"""The priors' tiny pipelines, which are counted here."""

# Absolute names are those of installed packages, and the tests are not one.
from ..priors.conftest import (  # noqa: TID252
    aura_flow,
    make_if,
    mvdream,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
)
from ..priors.families.conftest import saved  # noqa: TID252

__all__ = [
    "aura_flow",
    "make_if",
    "mvdream",
    "saved",
    "stable_diffusion",
    "stable_diffusion_3",
    "stable_diffusion_xl",
]
