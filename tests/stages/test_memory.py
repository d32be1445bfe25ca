"""The estimate against the loop itself, and what is said of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.optimize.monitor import Monitors
from dreamfusion_kit.priors.architectures import STABLE_DIFFUSION_1
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.footprint import components
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages import memory
from dreamfusion_kit.stages.memory import Device, changes, moments, report, with_key

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
    prior: Any = build_prior(recipe.prior, ROOT / source.path, "cpu")
    prompts = guidance_prompts("a red mug", recipe.guidance)
    text = prior.encode_text(list(prompts.values()))
    weights = sum(value.nbytes for value in prior._unet.parameters())  # read from disk here

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
    device = replace(GPU, total_bytes=round((needed - 2**20) / memory.USABLE_SHARE))
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
    assert on_cpu == list(plain.values())  # there it already is where it would go


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_proposed_change_is_a_valid_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    proposed = list(changes(recipe))
    assert proposed
    for key, value in proposed:
        assert with_key(recipe, key, value) != recipe


def test_this_machine_has_memory() -> None:
    device = memory.this_device()
    assert 0 < device.free_bytes <= device.total_bytes
    if not device.is_gpu:
        assert 0 < device.libraries_bytes < device.total_bytes
