"""View-dependent text: the prompt says from which side the camera looks (DreamFusion, s. 3.2).

The paper has two ways: a weighted combination of the embeddings of front, side and back
(s. 3.2), and the closest view's alone, which it found to work well (A.2). It gives no
weights; here they are linear in the azimuth, from 1 at a view's middle to 0 at the next's.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, assert_never, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import SdsGuidance, ViewPrompts

View = Literal["front", "side", "back", "overhead"]
VIEWS: tuple[View, ...] = get_args(View)
NEGATIVE = "negative"


def view_name(azimuth_deg: float, elevation_deg: float, section: ViewPrompts) -> View:
    """Return the view of a camera; azimuth 0 faces the front and any turn may be added.

    Overhead begins strictly above its elevation. The front and back sectors include
    their edges.
    """
    if elevation_deg > section.overhead_above_deg:
        return "overhead"
    from_front = abs((azimuth_deg + 180) % 360 - 180)
    if from_front <= section.front_half_width_deg:
        return "front"
    return "back" if 180 - from_front <= section.back_half_width_deg else "side"


def prompts_for(prompt: str, section: ViewPrompts) -> dict[View, str]:
    """Return each view's text, such as "a red mug, front view"; the bare prompt if disabled."""
    words: dict[View, str] = {
        "front": section.front,
        "side": section.side,
        "back": section.back,
        "overhead": section.overhead,
    }
    if not section.enabled:
        return dict.fromkeys(VIEWS, prompt)
    return {view: f"{prompt}, {words[view]}" for view in VIEWS}


def guidance_prompts(prompt: str, section: SdsGuidance) -> dict[str, str]:
    """Return every text that the guidance needs, keyed by what it is for.

    The order is that of the rows which the embed stage saves: the views, then the
    negative prompt, whose prediction stands for the unconditional one.
    """
    return {**prompts_for(prompt, section.view_prompts), NEGATIVE: section.negative_prompt}


def rows_for_views(
    azimuth_deg: Float[Tensor, " batch"],
    elevation_deg: Float[Tensor, " batch"],
    section: ViewPrompts,
    prompts: Mapping[str, str],
) -> list[int]:
    """Return each image's row among the features of `prompts` (see `guidance_prompts`)."""
    orbit = zip(azimuth_deg.tolist(), elevation_deg.tolist(), strict=True)
    return [
        row_of(view_name(azimuth, elevation, section), list(prompts))
        for azimuth, elevation in orbit
    ]


def text_for_views(
    text: TextFeatures,
    azimuth_deg: Float[Tensor, " batch"],
    elevation_deg: Float[Tensor, " batch"],
    section: ViewPrompts,
    prompts: Mapping[str, str],
) -> TextFeatures:
    """Return one row per image: its view's features, or a mix of its two nearest views'."""
    match section.combine:
        case "nearest":
            return text.select(rows_for_views(azimuth_deg, elevation_deg, section, prompts))
        case "interpolated":
            views = text.select([row_of(view, list(prompts)) for view in VIEWS])
            orbit = zip(azimuth_deg.tolist(), elevation_deg.tolist(), strict=True)
            weights = azimuth_deg.new_tensor([view_weights(*angles, section) for angles in orbit])
            return TextFeatures({name: _mix(weights, rows) for name, rows in views.tensors.items()})
        case _:
            assert_never(section.combine)


def view_weights(
    azimuth_deg: float, elevation_deg: float, section: ViewPrompts
) -> tuple[float, float, float, float]:
    """Return the shares of `VIEWS` in a camera's text, which sum to 1; overhead is never mixed."""
    if elevation_deg > section.overhead_above_deg:
        return (0.0, 0.0, 0.0, 1.0)
    from_front = abs((azimuth_deg + 180) % 360 - 180) / 90  # 0 front, 1 side, 2 back
    front, back = max(1 - from_front, 0.0), max(from_front - 1, 0.0)
    return (front, 1 - front - back, back, 0.0)


def _mix(
    weights: Float[Tensor, "batch views"], rows: Shaped[Tensor, "views *feature"]
) -> Shaped[Tensor, "batch *feature"]:
    """Return weighted sums; of masks, which are no numbers to add, the union of those mixed."""
    if rows.is_floating_point():
        return torch.tensordot(weights.to(rows.dtype), rows, dims=1)
    shares = weights.view(*weights.shape, *[1] * (rows.ndim - 1))
    return (rows * (shares > 0)).amax(dim=1).to(rows.dtype)


def row_of(key: str, keys: Sequence[str]) -> int:
    """Return where `key` stands among the saved texts."""
    if key not in keys:
        raise WeightsError(
            f"text features: no row for {key!r} among {', '.join(keys)}; expected the views and "
            "the negative prompt; run the embed stage again"
        )
    return keys.index(key)
