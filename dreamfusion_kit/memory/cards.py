"""Which of a recipe's switches make it fit common cards of 12, 16 and 24 GB."""

from collections.abc import Iterator

from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.memory.estimate import Counted, combine, count, with_prior
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

# From the smallest sacrifice to the largest: time for transfers, then rounding, then detail.
_SWITCHES: tuple[dict[str, object], ...] = (
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


def advice_for_cards(recipe: Recipe, parts: Components) -> list[str]:
    """Return one line a card: which keys of `prior` to set, if any combination fits.

    Empty for priors without these keys, which are small.
    """
    if not isinstance(
        recipe.prior,
        LatentUnetSection
        | MultiViewUnetSection
        | FlowTransformerSection
        | LatentTransformerSection,
    ):
        return []
    peaks: list[tuple[dict[str, object], int]] = []
    for switches, peak in _peaks(recipe, parts):
        peaks.append((switches, peak))
        if peak <= _usable(min(CARDS_GB)):
            break  # the others are no smaller a sacrifice
    return [_line(gigabytes, peaks) for gigabytes in CARDS_GB]


def _peaks(recipe: Recipe, parts: Components) -> Iterator[tuple[dict[str, object], int]]:
    """Yield each combination of switches with the recipe's peak on a GPU."""
    card = Device("card", is_gpu=True, total_bytes=0, free_bytes=0, libraries_bytes=0)
    plain = count(recipe, parts)  # none of the switches changes field or surface
    known: dict[str, Counted] = {}
    for switches, changed in _variants(recipe):
        # Where the weights wait does not change how many there are, which is slow to count.
        counted = changed.prior.model_dump_json(exclude={"cpu_offload"})
        if counted not in known:
            known[counted] = with_prior(plain, changed, parts)
        found = combine(changed, known[counted], card)
        yield switches, max(moment.total for moment in found)


def _variants(recipe: Recipe) -> Iterator[tuple[dict[str, object], Recipe]]:
    for switches in _SWITCHES:
        kept = {
            key: value
            for key, value in switches.items()
            # Never larger pictures than the recipe's.
            if key != "image_size_px" or getattr(recipe.prior, key) > 256
        }
        prior = recipe.prior.model_copy(update=kept)
        yield kept, recipe.model_copy(update={"prior": prior})


def _line(gigabytes: int, peaks: list[tuple[dict[str, object], int]]) -> str:
    for switches, peak in peaks:
        if peak <= _usable(gigabytes):
            keys = ", ".join(f"prior.{key} {_said(value)}" for key, value in switches.items())
            return f"on a card of {gigabytes} GB: {keys or 'as it is'}"
    return f"on a card of {gigabytes} GB: not with any of these switches"


def _usable(gigabytes: int) -> float:
    return USABLE_SHARE * gigabytes * 1e9


def _said(value: object) -> str:
    return "true" if value is True else str(value)
