import pytest
import torch

from dreamfusion_kit.field.hash_grid import HashGrid
from dreamfusion_kit.recipe.schema import HashGridSection
from dreamfusion_kit.seeding import generator


def _field(section: HashGridSection) -> HashGrid:
    return HashGrid(section, generator=generator(0, "field"))


def _inside(count: int) -> torch.Tensor:
    noise = torch.randn(count, 3, generator=generator(1, "field"))
    return 0.8 * torch.nn.functional.normalize(noise, dim=-1)


@pytest.mark.parametrize(("step", "levels"), [(0, 2), (9, 2), (10, 3), (20, 4), (10_000, 4)])
def test_levels_come_into_use_with_the_step(
    hash_section: HashGridSection, step: int, levels: int
) -> None:
    field = _field(hash_section)
    field.set_step(10_000)
    field.set_step(step)  # a function of the step alone, whatever came before
    assert int(field.num_levels) == levels
    field(_inside(50), with_normals=False).albedo.sum().backward()
    used = field.encoding.table.grad.abs().sum(dim=-1) > 0
    rows = torch.tensor([level.num_rows for level in field.encoding.levels]).cumsum(dim=0)
    assert used[: rows[levels - 1]].any()
    assert not used[rows[levels - 1] :].any()


def test_a_fresh_field_is_the_blob(hash_section: HashGridSection) -> None:
    places = torch.tensor([[0, 0, 0], [0, 0, 1.39], [0, 0, 1.41], [1.3, 1.3, 1.3]])
    centre, rim, *outside = _field(hash_section).densities(places).tolist()
    assert centre == pytest.approx(0.6931, abs=1e-3)
    assert rim == pytest.approx(0.0067, abs=1e-4)
    assert outside == [0, 0]


def test_densities_are_those_of_forward(hash_section: HashGridSection) -> None:
    field, positions = _field(hash_section), _inside(50)
    sample = field(positions, with_normals=True)
    torch.testing.assert_close(field.densities(positions), sample.densities)
    assert ((sample.albedo >= 0) & (sample.albedo <= 1)).all()


def test_normals_of_the_blob_point_outwards(hash_section: HashGridSection) -> None:
    positions = 0.3 * torch.nn.functional.normalize(_inside(50), dim=-1)
    normals = _field(hash_section)(positions, with_normals=True).normals
    assert normals is not None
    assert ((normals * positions / 0.3).sum(dim=-1) > 0.99).all()


def test_normals_send_a_gradient_to_tables_and_network(hash_section: HashGridSection) -> None:
    field = _field(hash_section)
    normals = field(_inside(50), with_normals=True).normals
    assert normals is not None
    normals[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in _weights(field))


def _weights(field: HashGrid) -> list[torch.nn.Parameter]:
    return [p for name, p in field.named_parameters() if not name.endswith("bias")]


def test_smoothness_is_zero(hash_section: HashGridSection) -> None:
    assert float(_field(hash_section).smoothness()) == 0


def test_every_parameter_is_in_one_group(hash_section: HashGridSection) -> None:
    field = _field(hash_section)
    groups = field.parameter_groups()
    assert {group["name"]: group["lr"] for group in groups} == {"encoding": 0.01, "network": 0.001}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in field.parameters())


@pytest.mark.parametrize("num_hidden_layers", [0, 2])
def test_the_number_of_hidden_layers(hash_section: HashGridSection, num_hidden_layers: int) -> None:
    section = hash_section.model_copy(update={"num_hidden_layers": num_hidden_layers})
    layers = [m for m in _field(section).network if isinstance(m, torch.nn.Linear)]
    assert len(layers) == num_hidden_layers + 1


def test_the_start_touches_no_global_generator(hash_section: HashGridSection) -> None:
    before = torch.get_rng_state()
    first, again = _field(hash_section), _field(hash_section)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_positions(hash_section: HashGridSection) -> None:
    field = _field(hash_section)
    sample = field(torch.zeros(0, 3), with_normals=True)
    assert sample.normals is not None
    (sample.densities.sum() + sample.normals.sum()).backward()
