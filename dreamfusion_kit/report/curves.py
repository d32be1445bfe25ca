"""What the curves of an optimisation are called, what they show, and their order on the page."""

from collections.abc import Iterable
from typing import NamedTuple

from dreamfusion_kit.report.content import Curve

REFINED = "refine_"  # before the name of a curve of the mesh's own optimisation

_KNOWN = {
    "opacity": ("Opacity", "mean of the views"),
    "timestep": ("Timestep", "mean of the views; 1 is pure noise"),
    "guidance_norm": ("Guidance", "norm of its gradient on the views"),
    "guidance_weights_norm": ("Guidance on the weights", "norm, where shares are measured"),
    "gradient_norm": ("Gradient", "norm over all parameters, before clipping"),
    "regularization": ("Penalties", "sum, each times its lambda"),
}
_SHARE = "share_"


class Label(NamedTuple):
    """A curve's title and what it shows, which may be empty."""

    title: str
    meaning: str


def label(name: str) -> Label:
    """Return the label of a curve; one that is not known has its own name."""
    if name.startswith(REFINED):
        own = label(name.removeprefix(REFINED))
        return Label(f"{own.title}, refinement", own.meaning)
    if name in _KNOWN:
        return Label(*_KNOWN[name])
    plain = name.replace("_", " ")
    if name.startswith(_SHARE):
        return Label(
            f"Share of {name.removeprefix(_SHARE).replace('_', ' ')}",
            "the penalty's gradient over the guidance's",
        )
    return Label(plain, "")


def ordered(curves: Iterable[Curve]) -> list[Curve]:
    """Return known curves first, then shares and others by name, those of a refinement last."""
    known = list(_KNOWN)

    def place(curve: Curve) -> tuple[bool, int, str]:
        name = curve.name.removeprefix(REFINED)
        rank = known.index(name) if name in known else len(known)
        return curve.name.startswith(REFINED), rank, name

    return sorted(curves, key=place)
