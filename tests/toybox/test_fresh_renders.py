"""Fresh renders show the requested object from the requested side."""

import torch

from dreamfusion_kit.recipe.schema import RandomBackgroundSection
from dreamfusion_kit.toybox.fresh_renders import fresh_renders
from dreamfusion_kit.toybox.settings import DatasetSection

BLACK = RandomBackgroundSection(
    kind="random", value_range=(0.0, 0.0), saturation_max=0.0, gradient_probability=0.0
)


def renders(settings: DatasetSection, view: str, count: int) -> torch.Tensor:
    return fresh_renders(settings, BLACK, color="red", object_name="mug", view=view, count=count)


def mean_column(images: torch.Tensor) -> float:
    """Return where the light is across the pictures: -1 at the left edge, 1 at the right."""
    light = images.sum(dim=(0, 1, 3))
    return float((light * torch.linspace(-1, 1, len(light))).sum() / light.sum())


def test_the_mug_has_its_cup_left_in_front_and_right_behind(
    dataset_settings: DatasetSection,
) -> None:
    """The cup's axis is at y = -0.12, the handle at +y: to the right of a viewer facing it."""
    views = ("front", "left side", "right side", "back")
    front, left, right, back = (renders(dataset_settings, view, 16) for view in views)
    assert front.shape == (16, 8, 8, 3)
    for side in (left, right):
        assert mean_column(front) < mean_column(side) < mean_column(back)
    assert mean_column(front) < -0.01
    assert mean_column(back) > 0.03


def test_all_show_their_color(dataset_settings: DatasetSection) -> None:
    """Half of the data set's renders are textureless; none of these is."""
    light = renders(dataset_settings, "left side", 16).sum(dim=(1, 2))
    assert (light[:, 0] > 4 * light[:, 1]).all()


def test_draws_are_addressed_and_not_all_alike(dataset_settings: DatasetSection) -> None:
    images = renders(dataset_settings, "right side", 2)
    assert torch.equal(images, renders(dataset_settings, "right side", 2))
    assert not torch.allclose(images[0], images[1], atol=0.05)
