"""Keys that were renamed or moved: an old one is refused with what to write in its place.

Penalties were renamed because their numbers changed meaning. Until then a penalty was a mean over
rays while the guidance was a sum over pixels. Now both are means, and an old lambda is too large by
the number of pixels. A refinement's keys were moved when it was given phases; numbers stay.
"""

from collections.abc import Mapping

from dreamfusion_kit.recipe.document import KeyPath, dotted

_DIVIDE = (
    "divided by the pixels of a view as the prior sees it (4096 for 64 x 64 pixels or latents, 1 "
    "for a CLIP), since guidance and penalties are both means over pixels now"
)

_OF_A_PHASE = (
    *("guidance", "camera", "shading"),
    *("normal_map_probability", "supersampling", "optimize"),
)

# Dotted path of the old key: the new key's name, and what to do with the number.
RENAMED: Mapping[str, tuple[str, str]] = {
    "optimize.regularizers": ("penalties", f"write optimize.penalties with its lambdas {_DIVIDE}"),
    "renderer.beyond.proposal.interlevel_lambda": (
        "loss_lambda",
        f"write renderer.beyond.proposal.loss_lambda, {_DIVIDE}",
    ),
    **{
        f"refine.{name}": (
            "phases",
            f"write refine.phases[0].{name}, beside learns: both; the value stays",
        )
        for name in _OF_A_PHASE
    },
}


def new_name(path: KeyPath) -> str | None:
    """Return the present name of the key at `path`, if it was renamed."""
    found = RENAMED.get(dotted(path))
    return None if found is None else found[0]


def renaming(path: KeyPath) -> str | None:
    """Return what to write in place of the key at `path`, if it was renamed."""
    found = RENAMED.get(dotted(path))
    return None if found is None else found[1]
