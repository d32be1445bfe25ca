"""What the toybox knows about the object that a prompt names."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Cameras, Lighting, Truth
from dreamfusion_kit.toybox.captions import HELD_OUT, caption, parse, plaster_caption
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import BOUNDING_RADIUS, DISTINCT_SIDES, OBJECTS, scene
from dreamfusion_kit.toybox.view_model import load_view_model


def toybox_truth(
    prompt: str, *, view_weights: Path, device: torch.device | str = "cpu"
) -> Truth | None:
    """Return the truth of a canonical caption such as "a red mug"; None for any other prompt.

    Args:
        prompt: The prompt.
        view_weights: The view classifier's directory, read for objects with distinct sides.
        device: Where the classifier runs.
    """
    pair = parse(prompt)
    if pair is None:
        return None
    color, name = pair
    solid = scene(name, color)

    def render(
        cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        return render_scene(solid, cameras, lighting, background)[0]

    def names_object(text: str) -> bool:
        other = parse(text)
        return other is not None and other[1] == name

    return Truth(
        caption=caption(color, name),
        held_out=pair in HELD_OUT,
        distances=solid.distances,
        bounding_radius=BOUNDING_RADIUS,
        render=render,
        names_object=names_object,
        plaster=tuple(plaster_caption(other) for other in OBJECTS),
        own_plaster=OBJECTS.index(name),
        sides=_classifier(name, view_weights, device) if name in DISTINCT_SIDES else None,
    )


def _classifier(
    name: str, view_weights: Path, device: torch.device | str
) -> Callable[[Float[Tensor, "images h w 3"]], list[str]]:
    model = load_view_model(view_weights, device=device)
    return lambda images: model.views(images, name)
