"""View-dependent text: the prompt says from which side the camera looks (DreamFusion, s. 3.2).

The paper has two ways: a weighted combination of the embeddings of front, side and back
(s. 3.2), and the closest view's alone, which it found to work well (A.2). It gives no
weights; here they are linear in the azimuth, from 1 at a view's middle to 0 at the next's.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.schema import PLAIN, GuidanceSection, ViewPromptsSection

View = Literal["front", "left", "right", "back", "overhead"]
Side = Literal["left", "right"]
VIEWS: tuple[View, ...] = get_args(View)


def nearest_view(azimuth_deg: float, elevation_deg: float, section: ViewPromptsSection) -> View:
    """Return the view of a camera; azimuth 0 faces the front and any full turn may be added.

    Overhead begins strictly above its elevation. The front and back sectors include
    their edges.
    """
    if elevation_deg > section.overhead_above_deg:
        return "overhead"
    from_front = abs((azimuth_deg + 180) % 360 - 180)
    if from_front <= section.front_half_width_deg:
        return "front"
    return "back" if 180 - from_front <= section.back_half_width_deg else side_of(azimuth_deg)


def side_of(azimuth_deg: float) -> Side:
    """Return the side of the object that a camera is on; in the plane between them, the left."""
    return "left" if azimuth_deg % 360 <= 180 else "right"


def prompts_for(prompt: str, section: ViewPromptsSection) -> dict[View, str]:
    """Return each view's text, such as "a red mug, front view"; the bare prompt if disabled."""
    words: dict[View, str] = {
        "front": section.front,
        "left": section.left,
        "right": section.right,
        "back": section.back,
        "overhead": section.overhead,
    }
    if not section.enabled:
        return dict.fromkeys(VIEWS, prompt)
    return {view: f"{prompt}, {words[view]}" for view in VIEWS}


def guidance_prompts(prompt: str, section: GuidanceSection) -> dict[str, str]:
    """Return every text that the guidance needs, keyed by what it is for.

    The order is that of the rows that the embed stage saves: the views, then the others.
    """
    plain = {PLAIN: prompt} if section.plain_prompt else {}
    return {**prompts_for(prompt, section.view_prompts), **section.other_texts, **plain}


def view_weights(
    azimuth_deg: float, elevation_deg: float, section: ViewPromptsSection
) -> tuple[float, float, float, float, float]:
    """Return the shares of `VIEWS` in a camera's text, which sum to 1; overhead is never mixed."""
    if elevation_deg > section.overhead_above_deg:
        return (0.0, 0.0, 0.0, 0.0, 1.0)
    from_front = abs((azimuth_deg + 180) % 360 - 180) / 90  # 0 front, 1 side, 2 back
    front, back = max(1 - from_front, 0.0), max(from_front - 1, 0.0)
    side = 1 - front - back
    left, right = (side, 0.0) if side_of(azimuth_deg) == "left" else (0.0, side)
    return (front, left, right, back, 0.0)


def row_of(key: str, keys: Sequence[str]) -> int:
    """Return the index of `key` among the saved texts."""
    if key not in keys:
        raise WeightsError(
            f"text features: no row for {key!r} among {', '.join(keys)}; expected the views and "
            "the negative prompt; run the embed stage again"
        )
    return keys.index(key)
