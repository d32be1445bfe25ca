"""The parts of DreamFusion's and Mip-NeRF 360's methods in the loop."""

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

from .loop_run import ROOT, Silent, assert_same, changed, run


@pytest.fixture(scope="module")
def published(recipe: Recipe) -> Recipe:
    """Return the short recipe with the paper's kind of field, background and optimiser."""
    shared = ("bounding_radius", "density_activation", "density_bias", "density_offset")
    field = {
        "kind": "mip_mlp",
        "num_blocks": 1,
        "hidden_width": 8,
        "num_frequencies": 4,
        "covariance": {"start": 0.05, "end": 0.002, "from_step": 0, "to_step": 8},
        "space": "ball",
        "learning_rate": 0.01,
    }
    background = {
        "kind": "mlp",
        "num_frequencies": 2,
        "hidden_width": 4,
        "num_hidden_layers": 1,
        "learning_rate": 0.01,
    }
    data = recipe.model_dump(mode="python")
    data["field"] = {key: data["field"][key] for key in shared} | field
    data["background"] = background
    optimizer = {
        "kind": "distributed_shampoo",
        "betas": (0.9, 0.9),
        "exponent_override": 2,
        "block_size": 4,
        "graft": "sqrt_n",
        "epsilon": 1e-6,
        "start_step": 3,
        "preconditioner_every_steps": 2,
        "nesterov": True,
    }
    changes = {"num_steps": 12, "preview_every_steps": 12, "optimizer": optimizer}
    data["optimize"] |= changes
    return Recipe.model_validate(data)


def test_the_papers_parts_move_and_resume_to_the_same_bits(
    published: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(published, whole)
    with pytest.raises(KeyboardInterrupt):
        run(published, stopped, Silent(stop_at=8))
    found = run(published, stopped)
    assert_same(found, expected)
    state = found.model.background.state_dict()
    assert state
    last = "step_00000012.safetensors"
    assert (whole.checkpoints / last).stat().st_size == (stopped.checkpoints / last).stat().st_size
    saved = load_file(stopped.checkpoints / last)
    first = load_file(stopped.checkpoints / "step_00000010.safetensors")
    assert all(torch.equal(saved[f"background/{name}"], state[name]) for name in state)
    assert any(not torch.equal(saved[name], first[name]) for name in saved if "background" in name)


def test_a_scene_without_an_end_is_optimised(
    published: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """Cones through contracted space, samples behind the sphere, the distortion's penalty."""
    scene = changed(
        published,
        field={"space": "contracted"},
        camera={"radius_range": (0.5, 0.8)},
        renderer={
            "jitter": False,
            "footprint": "cone",
            "beyond": {"num_samples": 8, "far": 20.0, "proposal": None},
        },
        optimize={
            "num_steps": 4,
            "penalties": published.optimize.penalties.model_dump() | {"distortion_lambda": 1.0},
        },
    )
    result = run(scene, make_scratch("scene"))
    assert len(result.history) == 4
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
    without = changed(
        scene,
        optimize={"penalties": scene.optimize.penalties.model_dump() | {"distortion_lambda": 0.0}},
    )
    other = run(without, make_scratch("without"))
    assert other.history[0].regularization < result.history[0].regularization


@pytest.fixture(scope="module")
def scene(recipe: Recipe) -> Recipe:
    """Return the shipped unbounded scene, made tiny, on the analytic prior."""
    data = load_recipe(ROOT / "recipes" / "mip-nerf-360-scene.yaml").model_dump(mode="python")
    data["prior"] = recipe.prior.model_dump(mode="python")
    data["camera"]["image_size_px"] = 8
    data["prior"]["image_size_px"] = 8
    data["field"] |= {"num_blocks": 1, "hidden_width": 8, "num_frequencies": 4}
    data["renderer"]["num_samples"] = 12
    data["renderer"]["beyond"]["num_samples"] = 6
    data["renderer"]["beyond"]["proposal"] |= {
        "num_blocks": 1,
        "hidden_width": 4,
        "num_samples": 8,
        "weight_exponent": {"start": 0.0, "end": 1.0, "from_step": 0, "to_step": 4},
        "learning_rate": 0.01,
    }
    data["renderer"]["occupancy"] |= {"resolution": 8, "warmup_steps": 2, "update_every_steps": 2}
    data["shading"]["albedo_only_steps"] = 3
    data["optimize"] |= {
        "num_steps": 8,
        "batch_size": 1,
        "checkpoint_every_steps": 3,
        "preview_every_steps": 4,
        "learning_rate_decay": recipe.optimize.learning_rate_decay.model_dump(mode="python"),
    }
    return Recipe.model_validate(data)


def test_a_scene_with_a_proposal_network_resumes_to_the_same_bits(
    scene: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(scene, whole)
    for stop in (2, 5, 8):
        with pytest.raises(KeyboardInterrupt):
            run(scene, stopped, Silent(stop_at=stop))
    found = run(scene, stopped)
    assert_same(found, expected)
    assert found.model.proposal is not None
    last = "step_00000008.safetensors"
    saved, expected_last = (load_file(s.checkpoints / last) for s in (stopped, whole))
    assert saved.keys() == expected_last.keys()
    assert all(torch.equal(saved[name], expected_last[name]) for name in saved)
    first = load_file(stopped.checkpoints / "step_00000006.safetensors")
    moved = {name for name in saved if not torch.equal(saved[name], first[name])}
    assert {"proposal/network.last.weight", "field/network.last.weight"} <= moved
    previews = [{p.name: p.read_bytes() for p in s.previews.iterdir()} for s in (whole, stopped)]
    assert previews[0] == previews[1]


def test_a_proposal_network_that_misses_is_drawn_to_the_field(
    scene: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """With no other penalty, what is left of the regularisation is its own loss, and falls."""
    penalties = dict.fromkeys(scene.optimize.penalties.model_dump(), 0.0)
    data = scene.model_dump(mode="python")
    data["optimize"] |= {
        "num_steps": 60,
        "penalties": penalties,
        "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
    }
    data["field"]["learning_rate"] = 1e-9  # a field that stays
    data["field"]["density_offset"] = 1.0
    result = run(Recipe.model_validate(data), make_scratch("alone"))
    losses = [metrics.regularization for metrics in result.history]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
