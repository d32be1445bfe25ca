"""Both kinds of background behind one call."""

import torch

from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.model.background import PlainBackground, build_background
from dreamfusion_kit.recipe.schema import (
    ConstantBackgroundSection,
    MlpBackgroundSection,
    RandomBackgroundSection,
)
from dreamfusion_kit.renderer.background import sample_background
from dreamfusion_kit.seeding import generator

DIRECTIONS = torch.nn.functional.normalize(torch.randn(2, 3, 4, 3), dim=-1)
RANDOM = RandomBackgroundSection(
    kind="random", saturation_max=0.5, value_range=(0.2, 0.9), gradient_probability=0.5
)


def test_a_constant_color_is_behind_every_pixel() -> None:
    section = ConstantBackgroundSection(kind="constant", color=(0.1, 0.2, 0.3))
    background = build_background(section, generator=generator(0, "unused"))
    found = background(DIRECTIONS, generator=generator(0, "background"))
    assert torch.equal(found, torch.tensor([0.1, 0.2, 0.3]).expand(2, 3, 4, 3))


def test_a_drawn_background_is_addressed_by_its_generator_and_learns_nothing() -> None:
    background = build_background(RANDOM, generator=generator(0, "unused"))
    assert isinstance(background, PlainBackground)
    found = background(DIRECTIONS, generator=generator(5, "background"))
    expected = sample_background(RANDOM, 2, 3, 4, generator=generator(5, "background"))
    assert torch.equal(found, expected)
    other = background(DIRECTIONS, generator=generator(6, "background"))
    assert not torch.equal(found, other)
    assert background.parameter_groups() == []
    assert background.state_dict() == {}


def test_a_network_draws_nothing_after_it_is_built() -> None:
    section = MlpBackgroundSection(
        kind="mlp", num_frequencies=2, hidden_width=4, num_hidden_layers=1, learning_rate=0.01
    )
    background = build_background(section, generator=generator(0, "background_mlp"))
    assert isinstance(background, BackgroundMlp)
    draw = generator(0, "background")
    before = draw.get_state()
    found = background(DIRECTIONS, generator=draw)
    assert torch.equal(draw.get_state(), before)
    assert found.shape == DIRECTIONS.shape
    (group,) = background.parameter_groups()
    assert group["lr"] == 0.01
