"""The model against its parts, through a file, and from a checkpoint."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.records import Lighting, Rays, RenderOutput
from dreamfusion_kit.renderer.volume import render
from dreamfusion_kit.seeding import generator

SIDE = 9


def _view() -> tuple[Rays, Lighting, torch.Tensor]:
    cameras = orbit_cameras(
        torch.tensor([0.0, 130.0]),
        elevation_deg=20.0,
        radius=1.5,
        fov_y_deg=50.0,
        image_size_px=SIDE,
    )
    light = headlight(cameras, ambient=0.3, diffuse=0.7, textureless=False)
    return pixel_rays(cameras), light, torch.full((2, SIDE, SIDE, 3), 0.5)


def _moved(model: NerfModel) -> NerfModel:
    """Return the model with other numbers than those it is built with."""
    draw = generator(9, "test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model


def _assert_same(found: RenderOutput, expected: RenderOutput) -> None:
    for name in ("image", "opacity", "depth", "normals"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.fixture(params=["plain", "scene"])
def recipe(request: pytest.FixtureRequest, plain: Recipe, scene: Recipe) -> Recipe:
    return {"plain": plain, "scene": scene}[request.param]


def test_a_render_is_the_renderers_own_of_all_parts(recipe: Recipe) -> None:
    model = _moved(NerfModel.build(recipe, seed=3))
    model.set_step(10)
    model.update_occupancy(10, generator=generator(0, "occupancy"))
    for training in (True, False):
        model.train(training)
        found = model.render(*_view(), with_normals=True, generator=generator(1, "render"))
        expected, _ = render(
            model.field,
            *_view(),
            section=recipe.renderer,
            bounding_radius=recipe.field.bounding_radius,
            occupancy=model.occupancy if training else None,
            with_normals=True,
            generator=generator(1, "render"),
            proposal=model.proposal,
        )
        _assert_same(found, expected)


def test_empty_space_is_skipped_only_while_the_model_is_trained(plain: Recipe) -> None:
    model = NerfModel.build(plain, seed=0)
    model.set_step(plain.renderer.occupancy.warmup_steps)
    model.occupancy.occupied = torch.zeros_like(model.occupancy.occupied)
    assert (model.render(*_view()).opacity == 0).all()
    assert (model.eval().render(*_view()).opacity > 0).any()


def test_the_occupancy_grid_is_updated_when_it_is_due(plain: Recipe) -> None:
    model = NerfModel.build(plain, seed=0)
    before = model.occupancy.remembered.clone()
    model.update_occupancy(1, generator=generator(0, "occupancy"))
    assert torch.equal(model.occupancy.remembered, before)
    model.update_occupancy(2, generator=generator(0, "occupancy"))
    assert not torch.equal(model.occupancy.remembered, before)


def test_a_saved_model_looks_alike_at_the_last_step(recipe: Recipe, tmp_path: Path) -> None:
    model = _moved(NerfModel.build(recipe, seed=3))
    model.set_step(recipe.optimize.num_steps)
    model.save(tmp_path)
    loaded = NerfModel.load(tmp_path, recipe)
    _assert_same(loaded.render(*_view()), model.eval().render(*_view()))
    rays = _view()[0]
    behind = (m.draw_background(rays, generator=generator(0, "b")) for m in (loaded, model))
    assert torch.equal(next(behind), next(behind))
    positions = torch.rand(20, 3, generator=generator(0, "points")) - 0.5
    assert torch.equal(loaded.densities(positions), model.densities(positions))
    assert torch.equal(loaded.albedo(positions), model.field(positions, False).albedo)


def test_loading_brings_every_part_to_the_last_step(scene: Recipe, tmp_path: Path) -> None:
    model = NerfModel.build(scene, seed=0)
    assert model.proposal is not None
    model.set_step(scene.optimize.num_steps)
    last = model.proposal.exponent
    model.set_step(0)
    assert model.proposal.exponent != last
    model.save(tmp_path)
    loaded = NerfModel.load(tmp_path, scene)
    assert loaded.proposal is not None
    assert loaded.proposal.exponent == last


def test_only_what_is_learned_has_a_file(plain: Recipe, scene: Recipe, tmp_path: Path) -> None:
    for name, recipe, files in (
        ("plain", plain, ["field"]),
        ("scene", scene, ["background", "field", "proposal"]),
    ):
        (tmp_path / name).mkdir()
        NerfModel.build(recipe, seed=0).save(tmp_path / name)
        found = sorted(path.name for path in (tmp_path / name).iterdir())
        assert found == [f"{file}.safetensors" for file in files]


@pytest.mark.parametrize("part", ["background", "field", "proposal"])
def test_a_part_that_is_missing_or_not_finite_is_refused(
    scene: Recipe, tmp_path: Path, part: str
) -> None:
    NerfModel.build(scene, seed=0).save(tmp_path)
    path = tmp_path / f"{part}.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    tensors[name][0, 0] = torch.nan
    header = _header(path)
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match=f"{part}.safetensors: 1 of .* not finite") as refusal:
        NerfModel.load(tmp_path, scene)
    assert "\n" not in str(refusal.value)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{part}.safetensors: cannot be read"):
        NerfModel.load(tmp_path, scene)


def _header(path: Path) -> dict[str, str] | None:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_every_parameter_is_optimised_once(recipe: Recipe) -> None:
    model = NerfModel.build(recipe, seed=0)
    grouped = [id(p) for group in model.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    names = [group["name"].split("/")[-1] for group in model.parameter_groups()]
    assert len(set(names)) == len(names)


def test_a_checkpoint_brings_back_every_part(recipe: Recipe) -> None:
    model = _moved(NerfModel.build(recipe, seed=3))
    model.update_occupancy(0, generator=generator(0, "occupancy"))
    tensors = {name: tensor.clone() for name, tensor in model.state_tensors().items()}
    parts = {name.split("/")[0] for name in tensors}
    learned = {"background", "proposal"} if model.proposal is not None else set[str]()
    assert parts == {"field", "occupancy"} | learned
    other = NerfModel.build(recipe, seed=4)
    other.load_state_tensors(tensors)
    found = other.state_tensors()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_tensors({k: v for k, v in tensors.items() if not k.startswith("field/")})


def test_a_seed_gives_one_model_and_parts_do_not_draw_from_each_other(scene: Recipe) -> None:
    first, again, other = (NerfModel.build(scene, seed=seed) for seed in (1, 1, 2))
    bare = NerfModel.build(
        scene.model_copy(
            update={
                "renderer": scene.renderer.model_copy(
                    update={"beyond": scene.renderer.beyond.model_copy(update={"proposal": None})}  # type: ignore[union-attr]
                )
            }
        ),
        seed=1,
    )
    assert bare.proposal is None
    assert bare.interlevel_lambda == 0
    assert first.interlevel_lambda > 0
    states = [model.state_tensors() for model in (first, again, other, bare)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert all(torch.equal(states[0][name], states[3][name]) for name in states[3])


def test_of_fields_that_take_turns_the_first_is_loaded(plain: Recipe, tmp_path: Path) -> None:
    data = plain.model_dump(mode="python")
    data["field"] = {"kind": "particles", "count": 2, "particle": data["field"]}
    model = _moved(NerfModel.build(Recipe.model_validate(data), seed=0))
    model.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["field.safetensors", "field_1.safetensors"]
    loaded = NerfModel.load(tmp_path, Recipe.model_validate(data)).field.state_dict()
    whole = model.field.state_dict()
    assert torch.equal(loaded["density"], whole["fields.0.density"])
    assert not torch.equal(loaded["density"], whole["fields.1.density"])
