"""The learned background: a network computed by hand, and what it may depend on."""

import pytest
import torch

from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.recipe.schema import MlpBackgroundSection
from dreamfusion_kit.seeding import generator


def _section(**changes: object) -> MlpBackgroundSection:
    section = MlpBackgroundSection(
        kind="mlp", num_frequencies=2, hidden_width=4, num_hidden_layers=1, learning_rate=0.01
    )
    return section.model_copy(update=changes)


def _background(**changes: object) -> BackgroundMlp:
    return BackgroundMlp(_section(**changes), generator=generator(0, "background_mlp"))


def test_a_colour_by_hand() -> None:
    background, direction = _background(), torch.tensor([0.6, 0.0, -0.8])
    features = torch.cat([f(s * direction) for f in (torch.sin, torch.cos) for s in (1, 2)])
    weights = {name: value.detach() for name, value in background.named_parameters()}
    inner = weights["layers.0.weight"] @ features + weights["layers.0.bias"]
    raw = weights["layers.2.weight"] @ (inner * inner.sigmoid()) + weights["layers.2.bias"]
    torch.testing.assert_close(background(direction), raw.sigmoid())


@pytest.mark.parametrize("num_hidden_layers", [0, 3])
def test_the_number_of_hidden_layers(num_hidden_layers: int) -> None:
    layers = _background(num_hidden_layers=num_hidden_layers).layers
    assert sum(isinstance(layer, torch.nn.Linear) for layer in layers) == num_hidden_layers + 1


def test_colours_of_a_batch_of_images() -> None:
    background = _background()
    noise = torch.randn(2, 3, 4, 3, generator=generator(1, "directions"))
    directions = torch.nn.functional.normalize(noise, dim=-1)
    colors = background(directions)
    assert ((colors >= 0) & (colors <= 1)).all()
    torch.testing.assert_close(colors[1, 2, 3], background(directions[1, 2, 3]))


def test_every_parameter_is_optimised_at_its_rate() -> None:
    background = _background()
    (group,) = background.parameter_groups()
    assert (group["name"], group["lr"]) == ("background", 0.01)
    assert [id(p) for p in group["params"]] == [id(p) for p in background.parameters()]


def test_the_start_touches_no_global_generator() -> None:
    before = torch.get_rng_state()
    first, again = _background(), _background()
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
