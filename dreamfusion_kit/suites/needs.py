"""What a worker of a suite needs of a node: cores, a GPU, main memory by doctor's estimate."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamfusion_kit.memory.components import components
from dreamfusion_kit.memory.device import describe_device
from dreamfusion_kit.memory.estimate import combine, memory_of_prior, mesh_bytes
from dreamfusion_kit.memory.field import field_memory
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
        if asset.imported is not None:  # which needs no prior
            most = max(most, libraries + mesh_bytes(asset.recipe))
        elif asset.recipe not in recipes:
            recipes.append(asset.recipe)
            most = max(most, _main_memory(asset.recipe, workspace, device, libraries))
    return Needs(cpus, int(device == "cuda"), round(_MARGIN * most))


def _main_memory(recipe: Recipe, workspace: Path, device: str, libraries: int) -> int:
    """Return the main memory of the most demanding stage."""
    parts, _ = components(recipe.prior, workspace)
    prior = memory_of_prior(recipe, parts)
    if device == "cuda":  # the prior passes through main memory on its way to the GPU
        return libraries + max(prior.denoiser + prior.encoder, mesh_bytes(recipe))
    here = describe_device(torch.device("cpu"))
    found = combine(recipe, prior, field_memory(recipe), here)
    return max(libraries + mesh_bytes(recipe), *(moment.total for moment in found))
