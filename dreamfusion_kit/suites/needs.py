"""What a worker of a suite needs of a node: cores, a GPU, main memory by doctor's estimate."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamfusion_kit.memory.components import all_components
from dreamfusion_kit.memory.device import describe_device
from dreamfusion_kit.memory.estimate import mesh_bytes, moments, preparing_bytes
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.recipe.resolved import resolve_all
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import Suite

# Kernels' temporary memory and the allocator's rounding are not in the estimate.
_MARGIN = 1.1


@dataclass(frozen=True)
class Needs:
    """The share of a node that one worker takes."""

    cpus: int
    gpus: int
    memory_bytes: int


def of_suite(workspace: Path, suite: Suite, *, device: str) -> Needs:
    """Return what suffices for any asset of the suite.

    A result depends on the number of threads, so a worker has OMP_NUM_THREADS cores if that is
    set, and one otherwise.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    cpus = int(threads) if threads.isascii() and threads.isdecimal() and int(threads) else 1
    libraries = describe_device(torch.device("cpu")).libraries_bytes
    recipes: list[Recipe] = []
    most = 0
    for asset in resolve_all(workspace, suite).values():
        if asset.imported is not None and not asset.refines:  # which needs no prior
            most = max(most, libraries + mesh_bytes(asset.recipe))
        elif asset.recipe not in recipes:
            recipes.append(asset.recipe)
            most = max(most, _main_memory(asset.recipe, workspace, device, libraries))
    return Needs(cpus, int(device == "cuda"), round(_MARGIN * most))


def _main_memory(recipe: Recipe, workspace: Path, device: str, libraries: int) -> int:
    """Return the main memory of the most demanding stage."""
    parts, _ = all_components(recipe, workspace)
    least = max(mesh_bytes(recipe), preparing_bytes(recipe))
    if device == "cuda":  # the prior passes through main memory on its way to the GPU
        prior = PriorSteps(parts).first(recipe)
        return libraries + max(prior.denoiser + prior.encoder, least)
    found = moments(recipe, parts, describe_device(torch.device("cpu")))
    return max(libraries + least, *(moment.total for moment in found))
