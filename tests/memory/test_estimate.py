"""The estimate against the loop itself, and the messages about it."""

import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.memory import advice
from dreamfusion_kit.memory import device as device_module
from dreamfusion_kit.memory.advice import changes, check_fits, report, with_key
from dreamfusion_kit.memory.architectures import STABLE_DIFFUSION_1
from dreamfusion_kit.memory.components import all_components, components
from dreamfusion_kit.memory.device import Device, describe_device, first_device
from dreamfusion_kit.memory.estimate import (
    Counted,
    Phase,
    combine,
    count,
    leaves_as_it_is,
    mesh_bytes,
    moments,
    recount,
)
from dreamfusion_kit.memory.field import field_memory
from dreamfusion_kit.memory.prior import PriorMemory
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.memory.surface import SurfaceMemory
from dreamfusion_kit.mesh.density_grid import fill_cavities, sample_density_grid
from dreamfusion_kit.mesh.isosurface import extract_isosurface
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.optimize.monitor import Monitors
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
GIB = 2**30
CPU = Device("main memory", False, 16 * GIB, 8 * GIB, libraries_bytes=0)
GPU = Device("a GPU", True, 24 * GIB, 23 * GIB, libraries_bytes=0)


def shipped(name: str) -> Recipe:
    return load_recipe(ROOT / "recipes" / f"{name}.yaml")


def latent_on_a_small_field() -> Recipe:
    """Return Stable Diffusion with the toybox's field, which is counted in no time."""
    small = shipped("toybox")
    names = ("camera", "shading", "field", "renderer", "optimize")
    return shipped("sd15").model_copy(update={name: getattr(small, name) for name in names})


def highest(recipe: Recipe, device: Device = CPU) -> int:
    parts, _ = components(recipe.prior, ROOT)
    return max(moment.total for moment in moments(recipe, parts, device))


@pytest.mark.parametrize("name", ["toybox", "toybox-vsd", "dreamfusion-toybox"])
def test_the_loop_takes_what_was_estimated(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allocator_peak: Callable[[Callable[[], object]], int],
) -> None:
    """Three steps of the real loop, by the allocations that torch's profiler saw."""
    monkeypatch.chdir(tmp_path)
    recipe = with_key(shipped(name), "optimize.learning_rate_decay.warmup_steps", 0)
    recipe = with_key(recipe, "optimize.num_steps", 3)
    source: Any = recipe.prior.source  # pyright: ignore
    prior: Any = build_prior(recipe.prior, packaged.MODELS / source.name, "cpu")
    prompts = guidance_prompts("a red mug", recipe.guidance)
    text = prior.encode_text(list(prompts.values()))
    weights = sum(value.nbytes for value in prior._denoiser.parameters())  # read from disk here

    def run() -> None:
        with open_scratch(tmp_path / ".work", "key") as scratch:
            optimize(
                recipe,
                seed=0,
                prior=prior,
                text=text,
                prompts=prompts,
                scratch=scratch,
                device=torch.device("cpu"),
                monitor=Monitors(),
            )

    found = allocator_peak(run) + weights
    assert highest(recipe) == pytest.approx(found, rel=0.05)


def test_the_report_names_every_part_and_the_sum() -> None:
    recipe = shipped("toybox")
    text = report(recipe, "toybox", *components(recipe.prior, ROOT), CPU)
    sizes = [float(size) for size in re.findall(r"^  \S.* (\d+\.\d) MiB$", text, re.MULTILINE)]
    total = float(re.findall(r"^sum +(\S+) MiB$", text, re.MULTILINE)[0])
    assert total == pytest.approx(sum(sizes), abs=0.5)
    assert total == pytest.approx(highest(recipe) / 2**20, abs=0.1)
    assert re.search(r"^device +main memory, 16.00 GiB$", text, re.MULTILINE)
    assert text.endswith(" yes")


def test_what_does_not_fit_is_told_with_the_keys_that_help() -> None:
    recipe = with_key(latent_on_a_small_field(), "optimize.batch_size", 4)
    needed = max(moment.total for moment in moments(recipe, STABLE_DIFFUSION_1, GPU))
    device = replace(GPU, total_bytes=round((needed - 2**20) / advice.USABLE_SHARE))
    text = report(recipe, "sd15", STABLE_DIFFUSION_1, "here", device)
    assert re.search(r"^fits +no, 1.0 MiB too much$", text, re.MULTILINE)
    line = re.search(r"^  optimize.batch_size: 2 +saves (\S+) GiB, which fits$", text, re.MULTILINE)
    assert line
    smaller = with_key(recipe, "optimize.batch_size", 2)
    left = max(moment.total for moment in moments(smaller, STABLE_DIFFUSION_1, GPU))
    assert float(line[1]) == pytest.approx((needed - left) / GIB, abs=0.01)
    saved = [line for line in text.splitlines() if " saves " in line]
    assert len(saved) >= 3


def test_nothing_helps_where_even_the_smallest_part_is_too_large() -> None:
    recipe = shipped("analytic")
    device = replace(CPU, total_bytes=GIB, libraries_bytes=2 * GIB)
    text = report(recipe, "analytic", {}, "a formula", device)
    assert "which fits" not in text
    assert re.search(r"^fits +no, ", text, re.MULTILINE)


def test_offloading_frees_the_denoiser_but_while_it_predicts() -> None:
    recipe = latent_on_a_small_field()
    plain = {moment.name: moment.total for moment in moments(recipe, STABLE_DIFFUSION_1, GPU)}
    moved = with_key(recipe, "prior.cpu_offload", True)
    found = {moment.name: moment.total for moment in moments(moved, STABLE_DIFFUSION_1, GPU)}
    halves = 2 * 859_520_964
    assert plain["the field learns"] - found["the field learns"] == halves
    assert plain["the encoder works"] - found["the encoder works"] == halves
    assert plain["the denoiser predicts"] == found["the denoiser predicts"]
    on_cpu = [moment.total for moment in moments(moved, STABLE_DIFFUSION_1, CPU)]
    assert on_cpu == list(plain.values())  # it is already where it would go


def test_an_offloaded_denoiser_is_there_while_phi_learns() -> None:
    vsd = shipped("toybox-vsd").guidance
    recipe = latent_on_a_small_field().model_copy(update={"guidance": vsd})
    moved = with_key(recipe, "prior.cpu_offload", True)
    plain, found = (
        {moment.name: moment.total for moment in moments(each, STABLE_DIFFUSION_1, GPU)}
        for each in (recipe, moved)
    )
    assert found["phi learns"] == plain["phi learns"]
    assert plain["the field learns"] - found["the field learns"] == 2 * 859_520_964


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_proposed_change_is_a_valid_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    proposed = list(changes(recipe))
    assert proposed
    for key, value in proposed:
        assert with_key(recipe, key, value) != recipe


SMALL: dict[str, Any] = {
    "camera.image_size_px": 8,
    "renderer.num_samples": 8,
    "renderer.occupancy.resolution": 8,
    "refine.representation.resolution": 16,
}
SMALL_PHASE = {"camera.image_size_px": 16, "supersampling": 2}


def small_refinement(name: str) -> Recipe:
    """Return a shipped recipe with a refinement, at sizes that take little time to count."""
    recipe = shipped(name)
    assert recipe.refine is not None
    changes = SMALL | {
        f"refine.phases.{index}.{key}": value
        for index in range(len(recipe.refine.phases))
        for key, value in SMALL_PHASE.items()
    }
    for key, value in changes.items():
        recipe = with_key(recipe, key, value)
    return recipe


# Keys of each kind: each costs two counts, and a recipe has dozens of them.
OF_EACH_KIND = {
    "magic3d-toybox": ("prior.dtype", "refine.phases.0.camera.image_size_px"),
    "prolificdreamer-toybox": ("guidance.phi.rank", "refine.phases.1.guidance.phi.rank"),
}


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_a_change_counts_what_it_touches_as_if_all_were_counted(name: str) -> None:
    recipe = small_refinement(name)
    parts, _ = all_components(recipe, ROOT)
    priors = PriorSteps(parts)
    found = count(recipe, priors)
    before = {moment.name: moment for moment in combine(recipe, found, GPU)}
    proposed, changed_ones = dict(changes(recipe)), 0
    for key in OF_EACH_KIND[name]:
        changed = with_key(recipe, key, proposed[key])
        whole = count(changed, PriorSteps(parts))
        assert recount(found, changed, key, priors) == whole, key
        for moment in combine(changed, whole, GPU):
            if leaves_as_it_is(key, recipe, moment):
                assert moment.total == before[moment.name].total, key
            else:
                changed_ones += moment.total != before[moment.name].total
    assert changed_ones >= len(OF_EACH_KIND[name])


def test_a_refinement_s_own_prior_moves_by_its_own_key() -> None:
    recipe = shipped("magic3d")
    assert recipe.refine is not None
    assert recipe.refine.prior is not None
    prior, field = PriorMemory(denoiser=10 * GIB, moved=GIB), field_memory(shipped("toybox"))
    surface = SurfaceMemory(0, 0, 0, 0, 0, 0)
    found = Counted(prior, field, (Phase(0, "refine: ", prior, surface),))
    moved = with_key(recipe, "refine.prior.cpu_offload", True)
    names = ("the field learns", "refine: the surface learns")
    plain, with_offload = (
        {moment.name: moment.total for moment in combine(each, found, GPU)}
        for each in (recipe, moved)
    )
    saved = [plain[name] - with_offload[name] for name in names]
    assert saved == [0, 10 * GIB]


def test_this_machine_has_memory() -> None:
    device = first_device()
    assert 0 < device.free_bytes <= device.total_bytes
    if not device.is_gpu:
        assert 0 < device.libraries_bytes < device.total_bytes


def absurd(name: str, section: str, **keys: Any) -> Recipe:
    found = shipped(name)
    return found.model_copy(update={section: getattr(found, section).model_copy(update=keys)})


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Device], None]:
    """Return a function that sets the memory that every torch device reports."""

    def replace_device(device: Device) -> None:
        monkeypatch.setattr(advice, "describe_device", lambda _: device)

    return replace_device


@pytest.mark.parametrize("name", ["toybox", "toybox-clip", "analytic"])
def test_ordinary_recipes_pass(name: str, on: Callable[[Device], None]) -> None:
    on(CPU)
    check_fits(shipped(name), ROOT, torch.device("cpu"))


@pytest.mark.parametrize(
    ("recipe", "advised", "size_gib"),
    [
        (absurd("toybox", "camera", image_size_px=8192), "set camera.image_size_px to ", 16),
        (absurd("toybox", "optimize", batch_size=1024), "set optimize.batch_size to ", 16),
        (absurd("toybox", "renderer", num_samples=16384), "set renderer.num_samples to ", 16),
        (
            absurd("dreamfusion-toybox", "renderer", num_samples=16384),
            "set renderer.num_samples to ",
            16,
        ),
        (
            absurd("dreamfusion-toybox", "field", hidden_width=8192),
            "set field.hidden_width to ",
            16,
        ),
        # The most that the schema allows: it fits a larger machine.
        (
            absurd("toybox-hash", "field", features_per_level=64),
            "set field.features_per_level to ",
            1.5,
        ),
    ],
    ids=["pixels", "views", "samples", "more samples", "width", "features"],
)
def test_the_absurd_is_refused_with_the_key_that_is_too_large(
    recipe: Recipe, advised: str, size_gib: float, on: Callable[[Device], None]
) -> None:
    on(replace(CPU, total_bytes=round(size_gib * GIB)))
    with pytest.raises(
        RecipeError, match=rf"^the optimisation needs about .* memory has {size_gib:.2f}"
    ) as it:
        check_fits(recipe, ROOT, torch.device("cpu"))
    message = str(it.value)
    assert advised in message
    assert "\n" not in message
    if recipe.field.kind != "voxel_grid":
        return  # others take long to count
    for key, value in re.findall(r"set (\S+) to (\S+?)(?= or |$)", message):
        check_fits(with_key(recipe, key, json.loads(value)), ROOT, torch.device("cpu"))


def test_what_is_close_is_counted(on: Callable[[Device], None]) -> None:
    recipe = shipped("toybox")
    needed = highest(recipe)
    on(replace(CPU, total_bytes=needed))
    check_fits(recipe, ROOT, torch.device("cpu"))
    on(replace(CPU, total_bytes=needed - 1))
    with pytest.raises(RecipeError, match=r"^the optimisation needs"):
        check_fits(recipe, ROOT, torch.device("cpu"))


def test_a_mesh_larger_than_main_memory_is_refused_before_the_run(
    on: Callable[[Device], None],
) -> None:
    on(CPU)
    with pytest.raises(RecipeError, match=r"^mesh: needs .* lower mesh.grid_resolution \(1024\)"):
        check_fits(absurd("toybox", "mesh", grid_resolution=1024), ROOT, torch.device("cpu"))
    assert mesh_bytes(shipped("toybox")) < 2**27


@pytest.mark.parametrize("resolution", [96, 144])
def test_the_lattice_takes_what_is_said(resolution: int) -> None:
    """By Python's own count of what numpy holds; a sphere for a field."""
    recipe = absurd("toybox", "mesh", grid_resolution=resolution, texture_size_px=16)

    def densities(positions: torch.Tensor) -> torch.Tensor:
        return 50 * (0.5 - positions.norm(dim=-1)).clamp_min(0)

    tracemalloc.start()
    grid = sample_density_grid(
        densities, bounding_radius=0.95, resolution=resolution, device=torch.device("cpu")
    )
    filled, _ = fill_cavities(grid, 5.0)
    extract_isosurface(filled, 5.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mesh_bytes(recipe) == pytest.approx(peak, rel=0.35)


def test_a_container_s_limit_is_the_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device_module, "_CGROUP_LIMIT", limit)
    unlimited = describe_device(torch.device("cpu")).total_bytes
    limit.write_text("max\n")
    assert describe_device(torch.device("cpu")).total_bytes == unlimited
    limit.write_text("1000000\n")
    found = describe_device(torch.device("cpu"))
    assert (found.total_bytes, found.free_bytes) == (1_000_000, 1_000_000)
