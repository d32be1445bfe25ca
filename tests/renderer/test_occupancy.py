import torch

from dreamfusion_kit.recipe.schema import OccupancySection
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.seeding import generator

SECTION = OccupancySection(
    resolution=16, update_every_steps=5, warmup_steps=10, decay=0.5, density_threshold=0.1
)


def _ball(radius: float, density: float = 1.0):
    return lambda x: torch.where(x.norm(dim=-1) < radius, density, 0.0)


def _updated(times: int = 1, radius: float = 0.5) -> OccupancyGrid:
    grid = OccupancyGrid(SECTION, 1.0)
    grid.set_step(10)
    for step in range(times):
        grid.update(_ball(radius), generator=generator(0, "occupancy", step))
    return grid


def _points(count: int = 5000) -> torch.Tensor:
    noise = torch.randn(count, 3, generator=generator(0, "points"))
    lengths = torch.rand(count, 1, generator=generator(1, "points"))
    return lengths * torch.nn.functional.normalize(noise, dim=-1)


def test_everything_is_occupied_during_warm_up_and_before_the_first_update() -> None:
    grid = OccupancyGrid(SECTION, 1.0)
    grid.set_step(10)
    assert grid.query(_points()).all()
    grid.update(_ball(0.2), generator=generator(0, "occupancy"))
    assert not grid.query(_points()).all()
    grid.set_step(9)
    assert grid.query(_points()).all()


def test_a_ball_is_kept_whole_and_space_away_from_it_is_not() -> None:
    occupied, distance = _updated().query(_points()), _points().norm(dim=-1)
    assert occupied[distance < 0.5].all()
    # Nothing further away than the dilated cell's diagonal.
    assert not occupied[distance > 0.5 + 2 * 3**0.5 * 2 / 16].any()


def test_cells_forget_by_the_decay() -> None:
    grid = _updated()
    nothing = _ball(0.0)
    # 1 -> 0.5 -> 0.25 -> 0.125 -> 0.0625, which is below the threshold of 0.1.
    for step in range(3):
        grid.update(nothing, generator=generator(1, "occupancy", step))
        assert grid.query(torch.zeros(1, 3)).all()
    grid.update(nothing, generator=generator(1, "occupancy", 3))
    assert not grid.query(_points()).any()


def test_a_cell_remembers_the_highest_density() -> None:
    grid = _updated()
    grid.update(_ball(0.5, density=0.2), generator=generator(1, "occupancy"))
    assert float(grid.remembered.max()) == 0.5
    grid.update(_ball(0.5, density=3.0), generator=generator(2, "occupancy"))
    assert float(grid.remembered.max()) == 3


def test_looks_only_inside_the_cube_and_at_every_cell_that_touches_the_sphere() -> None:
    seen: list[torch.Tensor] = []

    def densities(positions: torch.Tensor) -> torch.Tensor:
        seen.append(positions)
        return positions.new_ones(len(positions))

    grid = OccupancyGrid(SECTION, 1.4)
    grid.set_step(10)
    grid.update(densities, generator=generator(0, "occupancy"))
    (positions,) = seen
    assert (positions.abs() <= 1.4).all()
    assert len(positions) < 16**3
    assert grid.query(1.4 * _points()).all()


def test_a_resumed_grid_answers_alike() -> None:
    grid, resumed = _updated(3), OccupancyGrid(SECTION, 1.0)
    resumed.load_state_dict(grid.state_dict())
    resumed.set_step(10)
    assert torch.equal(resumed.query(_points()), grid.query(_points()))
    for each in (grid, resumed):
        each.update(_ball(0.3), generator=generator(0, "occupancy", 3))
    for name, tensor in grid.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_updates_are_due_at_multiples() -> None:
    grid = OccupancyGrid(SECTION, 1.0)
    assert [step for step in range(16) if grid.is_due(step)] == [0, 5, 10, 15]


def test_any_leading_axes() -> None:
    grid = _updated()
    for shape in ((), (4,), (2, 4), (0,)):
        assert grid.query(torch.zeros(*shape, 3)).shape == shape
