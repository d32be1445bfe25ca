"""Which of a recipe's switches make it fit common cards of 12, 16 and 24 GB."""

from collections.abc import Iterator
from typing import Any

from dreamfusion_kit.memory.device import Device, format_bytes
from dreamfusion_kit.memory.estimate import Counted, Moment, combine, with_prior
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.recipe.schema import (
    FlowTransformerSection,
    LatentTransformerSection,
    LatentUnetSection,
    MultiViewUnetSection,
    Recipe,
)

CARDS_GB = (12, 16, 24)
# Kernels' temporary memory, the allocator's rounding and a CUDA context are not counted.
USABLE_SHARE = 0.9

# Ways to store and move a prior's weights that VSD's second denoiser cannot share, each with what
# is possible instead.
NOT_WITH_PHI: dict[object, object] = {"float8_e4m3fn": None, "group": True}

# From the smallest sacrifice to the largest: time for transfers, then rounding, then detail.
Switches = dict[str, object]  # keys of `prior` and their values
_SWITCHES: tuple[Switches, ...] = (
    {},
    {"vae_dtype": "bfloat16"},
    {"cpu_offload": True, "vae_dtype": "bfloat16"},
    {"cpu_offload": "group", "vae_dtype": "bfloat16"},
    {"cpu_offload": "group", "vae_dtype": "bfloat16", "storage_dtype": "float8_e4m3fn"},
    {
        "cpu_offload": "group",
        "vae_dtype": "bfloat16",
        "storage_dtype": "float8_e4m3fn",
        "image_size_px": 256,
    },
)


def advice_for_cards(recipe: Recipe, counted: Counted, priors: PriorSteps) -> list[str]:
    """Return one line a card: which keys of `prior` to set, if any combination fits.

    Empty for priors without these keys, which are small.

    Args:
        recipe: The recipe as it is.
        counted: Its memory.
        priors: Counted it, and counts its variants.
    """
    if not isinstance(
        recipe.prior,
        LatentUnetSection
        | MultiViewUnetSection
        | FlowTransformerSection
        | LatentTransformerSection,
    ):
        return []
    peaks: list[tuple[Switches, Moment]] = []
    for switches, peak in _peaks(recipe, counted, priors):
        peaks.append((switches, peak))
        if peak.total <= _usable(min(CARDS_GB)):
            break  # the others are no smaller a sacrifice
    return [_line(gigabytes, peaks) for gigabytes in CARDS_GB]


def trains_phi(recipe: Recipe) -> bool:
    """Return whether any stage is guided by VSD, whose second denoiser learns."""
    return any(one.adapter_rank is not None for one in recipe.guidances.values())


def _peaks(
    recipe: Recipe, counted: Counted, priors: PriorSteps
) -> Iterator[tuple[Switches, Moment]]:
    """Yield each combination of switches with the recipe's highest moment on a GPU."""
    card = Device("card", is_gpu=True, total_bytes=0, free_bytes=0, libraries_bytes=0)
    for switches, changed in _variants(recipe):
        # None of the switches changes field or surface.
        found = combine(changed, with_prior(counted, changed, priors), card)
        yield switches, max(found, key=lambda moment: moment.total)


def _variants(recipe: Recipe) -> Iterator[tuple[Switches, Recipe]]:
    """Yield each combination that the recipe allows, without what it has already."""
    has_phi, seen = trains_phi(recipe), list[Switches]()
    for switches in _SWITCHES:
        kept = {
            key: NOT_WITH_PHI.get(value, value) if has_phi else value
            for key, value in switches.items()
            if _is_smaller(key, getattr(recipe.prior, key), value)
        }
        if kept in seen:
            continue
        seen.append(kept)
        yield kept, recipe.model_copy(update={"prior": recipe.prior.model_copy(update=kept)})


def _is_smaller(key: str, has: Any, value: object) -> bool:
    """Return whether a switch changes a prior, and not to larger pictures or a VAE it has not."""
    match key:
        case "image_size_px":
            return has > 256
        case "vae_dtype":
            return has == "float32"
        case _:
            return has != value


def _line(gigabytes: int, peaks: list[tuple[Switches, Moment]]) -> str:
    card = f"on a card of {gigabytes} GB"
    for switches, peak in peaks:
        if peak.total <= _usable(gigabytes):
            keys = ", ".join(f"prior.{key} {_said(value)}" for key, value in switches.items())
            return f"{card}: {keys or 'as it is'}"
    _, least = min(peaks, key=lambda pair: pair[1].total)
    return f"{card}: not by keys of prior alone: {format_bytes(least.total)} while {least.name}"


def _usable(gigabytes: int) -> float:
    return USABLE_SHARE * gigabytes * 1e9


def _said(value: object) -> str:
    return "true" if value is True else str(value)
