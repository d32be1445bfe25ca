"""Another model that lends its network to VSD's phi: what it has to have in common with the prior.

Phi sees the prior's noisy latents at the prior's timesteps, and reads the prior's text features.
What its network predicts may differ: ProlificDreamer's predicts v beside a prior that predicts
noise.
"""

from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.config.component_config import read_scheduler_config, read_unet_config
from dreamfusion_kit.priors.config.components import LATENT_UNET, read_index
from dreamfusion_kit.priors.config.distilled import refuse_distilled
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule

_SAME_LEVEL = 1e-6  # of alpha_bar: betas are stored as float32


def check_lent(own: Path, lent: Path, place: str) -> None:
    """Raise RecipeError where phi could not be a network of `lent` beside the prior in `own`.

    Only the index, the scheduler's and the U-Net's configuration of `lent` are read. `place` is
    the key of its source in the recipe.

    Raises:
        WeightsError: if either model is not a latent U-Net in diffusers' layout.
    """
    refuse_distilled(lent)
    read_index(lent, LATENT_UNET)
    ours, theirs = read_unet_config(own), read_unet_config(lent)
    for what, wanted, found in (
        ("channels of latents", ours.in_channels, theirs.in_channels),
        ("channels that it predicts", ours.out_channels, theirs.out_channels),
        ("features of a text's token", ours.text_width, theirs.text_width),
        ("addition_embed_type", ours.addition_embed_type, theirs.addition_embed_type),
    ):
        if found != wanted:
            raise RecipeError(
                f"{place}: found {what}: {found}, expected {wanted} as the prior has; choose a "
                "model of the prior's family, or null for the prior's own weights"
            )
    read_scheduler_config(own)
    read_scheduler_config(lent)


def check_timesteps(
    own: NoiseSchedule, lent: NoiseSchedule, place: str = "guidance.phi.source"
) -> None:
    """Raise RecipeError where a timestep means another noise level to the two models."""
    ours, theirs = own.alpha_bar.cpu(), lent.alpha_bar.cpu()
    if len(ours) != len(theirs):
        raise RecipeError(
            f"{place}: found {len(theirs)} timesteps, expected {len(ours)} as the prior has; "
            "choose another model, or null for the prior's own weights"
        )
    apart = (ours - theirs).abs()
    if float(apart.max()) > _SAME_LEVEL:
        first = int((apart > _SAME_LEVEL).nonzero()[0, 0])
        raise RecipeError(
            f"{place}: found alpha_bar {float(theirs[first]):.6g} at timestep {first}, expected "
            f"{float(ours[first]):.6g} as the prior has; choose another model, or null for the "
            "prior's own weights"
        )
