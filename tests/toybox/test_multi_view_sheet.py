"""The multi-view sample sheet: every object from every camera of a group, in its place."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Cameras
from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_sheet import group_cameras, multi_view_sheet
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS


class Painter(ToyboxMultiView):
    """A model whose samples say where they belong: red counts objects, green views."""

    def __init__(self) -> None:
        self.num_views = 4

    def sample(
        self, captions: Sequence[str], cameras: Cameras, **_options: object
    ) -> Float[Tensor, "objects views h w 3"]:
        colors = tuple(COLORS)
        assert list(captions) == [caption(colors[i % 9], name) for i, name in enumerate(OBJECTS)]
        images = torch.zeros(len(captions), 4, 2, 2, 3)
        images[..., 0] = torch.arange(len(captions)).view(-1, 1, 1, 1) / 255
        images[..., 1] = cameras.azimuth_deg.view(1, -1, 1, 1) / 90 / 255
        return images


def test_objects_are_columns_and_views_are_rows() -> None:
    sheet = np.asarray(multi_view_sheet(Painter()))
    assert sheet.shape == (4 * 2, len(OBJECTS) * 2, 3)
    rows, columns = np.indices(sheet.shape[:2]) // 2
    assert (sheet[..., 0] == columns).all()
    assert (sheet[..., 1] == rows).all()


def test_a_group_s_cameras_are_evenly_around_the_object() -> None:
    cameras = group_cameras(4, first_azimuth_deg=45.0)
    assert cameras.azimuth_deg.tolist() == [45, 135, 225, 315]
    assert cameras.views_per_object == 4
    places = cameras.camera_to_world[:, :3, 3]
    assert torch.allclose(places[:, :2].sum(dim=0), torch.zeros(2), atol=1e-5)
