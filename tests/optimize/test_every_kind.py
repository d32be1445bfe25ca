"""Every guidance, field and optimiser in the loop: it repeats and resumes to the bit."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion_kit import packaged
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

from .conftest import SHAMPOO
from .loop_run import CPU, KINDS, ROOT, Silent, assert_same, changed, counting, of_kind, run


@pytest.mark.parametrize("kind", KINDS)
def test_every_guidance_resumes_to_the_bit(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], kind: str
) -> None:
    twelve = changed(recipe, optimize={"num_steps": 12, "checkpoint_every_steps": 4})
    short = of_kind(twelve, kind)
    prior = counting(short, tint=0.01)
    whole = run(short, make_scratch("whole"), prior=prior)
    assert all(metrics.guidance_norm > 0 for metrics in whole.history)
    if KINDS[kind][1]:
        assert prior.batches == [2 * KINDS[kind][1]] * 12
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(short, stopped, Silent(stop_at=7), prior=counting(short, tint=0.01))
    assert_same(run(short, stopped, prior=counting(short, tint=0.01)), whole)
    newest = [sorted(s.checkpoints.iterdir())[-1] for s in (stopped, make_scratch("whole"))]
    states = [load_file(path) for path in newest]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    has_own_state = any(name.startswith("guidance/phi/") for name in states[0])
    assert has_own_state == (kind == "vsd")


def test_several_fields_under_one_phi_resume_to_the_bit(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    data = of_kind(recipe, "vsd").model_dump(mode="python")
    data["field"] = {"kind": "particles", "count": 2, "particle": data["field"]}
    data["optimize"] |= {"num_steps": 10, "checkpoint_every_steps": 4}
    section = Recipe.model_validate(data)
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(section, whole)
    for stop in (6, 9):
        with pytest.raises(KeyboardInterrupt):
            run(section, stopped, Silent(stop_at=stop))
    assert_same(run(section, stopped), expected)
    last, before = (
        load_file(whole.checkpoints / f"step_{step:08d}.safetensors") for step in (10, 8)
    )
    resumed = load_file(stopped.checkpoints / "step_00000010.safetensors")
    assert last.keys() == resumed.keys()
    assert all(torch.equal(last[name], resumed[name]) for name in last)
    moved = {name for name in last if not torch.equal(last[name], before[name])}
    assert {f"field/fields.{index}.density" for index in (0, 1)} <= moved
    assert any(name.startswith("guidance/phi/") for name in moved)
    assert not torch.equal(last["field/fields.0.density"], last["field/fields.1.density"])
    # Each field's optimiser has taken the steps of its own turns; phi's has taken all.
    own = [int(last[f"optimizer/{index}/step"]) for index in range(4)]
    assert own == [5, 5, 5, 5]
    of_phi = [name for name in last if name.startswith("guidance/optimizer/")]
    assert {int(last[name]) for name in of_phi if name.endswith("/step")} == {
        20
    }  # two of phi's per step


FIELDS = {
    "voxel_grid": "toybox",
    "hash_grid": "toybox-hash",
    "mip_mlp": "dreamfusion-toybox",
}


@pytest.mark.parametrize("optimizer", ["adam", "distributed_shampoo"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_under_every_optimiser_repeats_at_its_real_width(
    recipe: Recipe,
    make_scratch: Callable[[str], Scratch],
    no_global_draws: Callable[[], AbstractContextManager[None]],
    field: str,
    optimizer: str,
) -> None:
    """Global seeds differ, one run resumes twice, and no global generator is drawn from."""
    section = load_recipe(ROOT / "recipes" / f"{FIELDS[field]}.yaml").field.model_dump(
        mode="python"
    )
    if field == "voxel_grid":
        section["resolution"] = 24  # its grids are cut into blocks; 64 costs Shampoo minutes
    if field == "hash_grid":
        section["log2_table_size"] = 6
    data = recipe.model_dump(mode="python") | {"field": section}
    data["camera"]["image_size_px"] = 8
    data["prior"]["image_size_px"] = 8
    data["optimize"] |= {
        "num_steps": 16,
        "checkpoint_every_steps": 5,
        "optimizer": SHAMPOO
        if optimizer == "distributed_shampoo"
        else data["optimize"]["optimizer"],
    }
    short = Recipe.model_validate(data)
    torch.manual_seed(1)
    with no_global_draws():
        whole = run(short, make_scratch("whole"))
    stopped = make_scratch("stopped")
    for global_seed, stop in ((2, 6), (3, 14)):
        torch.manual_seed(global_seed)
        with pytest.raises(KeyboardInterrupt):
            run(short, stopped, Silent(stop_at=stop))
    assert_same(run(short, stopped), whole)


@pytest.mark.parametrize(
    "name", ["toybox", "toybox-vsd", "toybox-clip", "toybox-ism", "toybox-sdi"]
)
def test_pretrained_priors_draw_from_no_global_generator(
    make_scratch: Callable[[str], Scratch],
    no_global_draws: Callable[[], AbstractContextManager[None]],
    name: str,
) -> None:
    """Loading, text, guidance, and phi's own layers."""
    shipped = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    decay = shipped.optimize.learning_rate_decay.model_dump(mode="python") | {"warmup_steps": 0}
    short = changed(shipped, optimize={"num_steps": 2, "learning_rate_decay": decay})
    source: Any = short.prior.source  # pyright: ignore
    with no_global_draws():
        prior: Any = build_prior(short.prior, packaged.MODELS / source.name, CPU)
        run(short, make_scratch(name), prior=prior)
