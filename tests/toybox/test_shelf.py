"""Shelves of renders: addressed by number, objects by weight, colours as trained."""

import torch

from dreamfusion_kit.toybox.captions import HELD_OUT
from dreamfusion_kit.toybox.latent_settings import ShelfSection
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS
from dreamfusion_kit.toybox.shelf import Shelves, render_shelf

CPU = torch.device("cpu")


def test_a_shelf_depends_on_its_number_alone(shelf_settings: ShelfSection) -> None:
    first, again = (render_shelf(shelf_settings, 1, device=CPU) for _ in range(2))
    other = render_shelf(shelf_settings, 2, device=CPU)
    assert torch.equal(first.rgba, again.rgba)
    assert torch.equal(first.azimuth_deg, again.azimuth_deg)
    assert first.rgba.shape == other.rgba.shape == (20, 16, 16, 4)
    assert not torch.equal(first.rgba, other.rgba)


def test_objects_come_by_their_weights(shelf_settings: ShelfSection) -> None:
    """Shares of 3 : 1 of the first two objects, and hardly any of the rest."""
    weights = dict.fromkeys(OBJECTS, 1e-6) | {OBJECTS[0]: 3.0, OBJECTS[1]: 1.0}
    section = shelf_settings.model_copy(update={"object_weights": weights, "shelf_size": 24})
    found = torch.bincount(render_shelf(section, 0, device=CPU).object_index, minlength=2)
    assert found.sum() == 24
    assert abs(int(found[0]) - 18) <= 1
    assert abs(int(found[1]) - 6) <= 1


def test_no_held_out_pair_is_rendered(shelf_settings: ShelfSection) -> None:
    section = shelf_settings.model_copy(update={"shelf_size": 160})
    shelf = render_shelf(section, 0, device=CPU)
    pairs = {
        (tuple(COLORS)[color], OBJECTS[name])
        for color, name in zip(shelf.color_index, shelf.object_index, strict=True)
        if color >= 0
    }
    assert len({color for color, _ in pairs}) == len(COLORS)
    assert not pairs & HELD_OUT


def test_the_colour_is_the_one_that_the_index_names(shelf_settings: ShelfSection) -> None:
    """Unlit balls have one colour: the brightest pixel shows it, to a 255th."""
    weights = dict.fromkeys(OBJECTS, 1e-6) | {"ball": 1.0}
    shading = shelf_settings.shading.model_copy(update={"shaded_probability": 0.0})
    section = shelf_settings.model_copy(update={"object_weights": weights, "shading": shading})
    shelf = render_shelf(section, 0, device=CPU)
    covered = shelf.rgba[:, 8, 8].float() / 255
    expected = torch.tensor([tuple(COLORS.values())[index] for index in shelf.color_index])
    torch.testing.assert_close(covered[:, :3], expected, atol=0.5 / 255, rtol=0)


def test_a_shelf_is_made_once_for_all_of_its_steps() -> None:
    made: list[int] = []

    def make(number: int) -> str:
        made.append(number)
        return f"shelf {number}"

    shelves = Shelves(make, 3)
    assert [shelves.at(step) for step in (4, 5, 6, 7)] == ["shelf 1"] * 2 + ["shelf 2"] * 2
    assert made == [1, 2]
    assert shelves.at(0) == "shelf 0"
