"""How strong a LoRA is, by what diffusers keeps in its file's header.

    strength = alpha / rank,   or alpha / sqrt(rank) where it is rank-stabilised
                               (Kalajdzievski 2023, arXiv 2312.03732).

The header has peft's settings by component: `unet.lora_alpha`, `text_encoder.use_rslora`. A key
without a component counts for all of them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

_KEY = "lora_adapter_metadata"


@dataclass(frozen=True)
class Scaling:
    """One component's settings; an alpha beside a layer's matrices comes before `alpha`."""

    alpha: float | None = None
    rank_stabilized: bool = False

    def strength(self, rank: int, own_alpha: float | None) -> float:
        """Return what a layer of `rank` is multiplied with; 1 where no alpha is known."""
        alpha = self.alpha if own_alpha is None else own_alpha
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def read_scalings(metadata: Mapping[str, str], name: str) -> dict[str, Scaling]:
    """Return the settings by the header's own names of components; "" counts for all.

    Raises WeightsError for a damaged header of the file `name`.
    """
    if _KEY not in metadata:
        return {}
    try:
        settings: Any = json.loads(metadata[_KEY])
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise WeightsError(
            f"{name}: its header's {_KEY} is {printable(repr(metadata[_KEY]), 80)}; expected a "
            "JSON object; restore the file"
        )
    found: dict[str, Scaling] = {}
    for key in settings:
        component, _, setting = key.rpartition(".")
        if setting == "alpha_pattern" and settings[key]:
            raise WeightsError(
                f"{name}: has an alpha of its own for some layers ({printable(key, 80)}); expected "
                "one for all; save it with its alphas as tensors, as kohya does"
            )
        if setting in ("lora_alpha", "use_rslora"):
            start = f"{component}." if component else ""
            found[component] = Scaling(
                _alpha(settings.get(f"{start}lora_alpha"), f"{start}lora_alpha", name),
                _flag(settings.get(f"{start}use_rslora"), f"{start}use_rslora", name),
            )
    return found


def _alpha(value: Any, key: str, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise WeightsError(
            f"{name}: its header's {printable(key, 80)} is {printable(repr(value), 80)}; expected "
            "a finite number; restore the file"
        )
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _flag(value: Any, key: str, name: str) -> bool:
    if not isinstance(value, bool | None):
        raise WeightsError(
            f"{name}: its header's {printable(key, 80)} is {printable(repr(value), 80)}; expected "
            "true or false; restore the file"
        )
    return bool(value)
