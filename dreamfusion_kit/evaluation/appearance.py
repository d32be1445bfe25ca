"""Measures of pictures that need neither a judge nor a true shape."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d

_VISIBLE = 0.02  # the least difference from the background that counts as drawn
_DARKEST = 1e-6
_MARGIN = 1 / 64  # of an image's side: rays this near the outline are left out of the fog


def saturation(views: Float[Tensor, "views h w 3"]) -> float | None:
    """Return the mean HSV saturation of the object's pixels, 0 to 1; None if nothing is visible.

    Pixels that differ from the first one, a corner, belong to the object.
    """
    pixels = views.reshape(-1, 3)
    drawn = pixels[(pixels - pixels[0]).abs().amax(dim=1) > _VISIBLE]
    if len(drawn) == 0:
        return None
    high, low = drawn.amax(dim=1), drawn.amin(dim=1)
    return float(((high - low) / high.clamp(min=_DARKEST)).mean())


def fog(
    field_opacity: Float[Tensor, "views h w"], mesh_opacity: Float[Tensor, "views h w"]
) -> float | None:
    """Return the mean opacity of the field's rays that miss the mesh, 0 to 1.

    Rays within 1/64 of the image's side of the mesh's outline are left out; None where no
    ray is left.
    """
    margin = max(1, round(_MARGIN * mesh_opacity.shape[-1]))
    near = max_pool2d(mesh_opacity[:, None], 2 * margin + 1, stride=1, padding=margin)[:, 0]
    passing = field_opacity[near == 0]
    return float(passing.mean()) if len(passing) else None


def seed_distance(
    own: Float[Tensor, "views features"], others: list[Float[Tensor, "views features"]]
) -> float:
    """Return 1 - cosine of unit features, view by view, averaged over the other assets."""
    cosines = torch.stack([(own * other).sum(dim=1).mean() for other in others])
    return 1 - float(cosines.double().mean())
