"""The steps from a recipe to an optimised model, as functions without a workspace.

The other two steps, `guidance.embed.embed_prompt` and `mesh.from_model.mesh_from_model`, need
no such wrapper and are public themselves.
"""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from dreamfusion_kit.errors import shortened
from dreamfusion_kit.guidance.embed import EmbeddedPrompt
from dreamfusion_kit.memory.advice import check_fits
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import OptimizedModel, optimize
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, Monitor, Monitors
from dreamfusion_kit.priors.base import Prior, Teacher
from dreamfusion_kit.priors.source.parts import Model
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages import devices, models
from dreamfusion_kit.stages.fetch import fetch_models
from dreamfusion_kit.system_errors import explained

# The path of a `local` source is relative to this folder.
HERE = Path()

_LONGEST_NAME = 40


def load_prior(recipe: Recipe, device: str = "cpu", *, offline: bool = False) -> Teacher:
    """Return the recipe's prior on `device`, downloaded first if it is on a hub.

    Args:
        recipe: The recipe; the path of a `local` source is relative to the current folder.
        device: "cpu", "cuda" or "cuda:N". It turns on PyTorch's deterministic algorithms for the
            whole process.
        offline: Use only what is in the hub's local cache.

    Raises:
        WeightsError: if the files are not available, or are not those of the recipe's prior.
        RecipeError: if the recipe needs more memory than the device has.
    """
    place = devices.pick(device, given_as="device")
    return prior_on(place, recipe, fetch_models(recipe, HERE, offline=offline))


def prior_on(device: torch.device, recipe: Recipe, fetched: Mapping[str, Model]) -> Teacher:
    """Return the prior from its fetched files, if the whole recipe fits `device`."""
    check_fits(recipe, HERE, device)
    return models.built(recipe, "prior", fetched, device)


def load_phi(recipe: Recipe, device: str = "cpu", *, offline: bool = False) -> Prior | None:
    """Return the model of the recipe's guidance.phi.source on `device`; None without one.

    See `load_prior`.
    """
    place = devices.pick(device, given_as="device")
    fetched = fetch_models(recipe, HERE, offline=offline)
    return models.built_phi(recipe, "guidance", fetched, place)


def optimize_model(
    recipe: Recipe,
    text: EmbeddedPrompt,
    prior: Teacher,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    phi: Prior | None = None,
) -> OptimizedModel:
    """Optimise the recipe's model until its renders look like the prompt to the prior.

    Args:
        recipe: The complete method.
        text: The result of `embed_prompt` for the prompt.
        prior: The recipe's prior on `device`: see `load_prior`.
        seed: The seed of every random number; equal seeds give equal bytes on one machine.
        device: Where the model is kept and everything is computed.
        progress: Whether to report progress on stderr.
        phi: What `load_phi` returned, for a recipe whose guidance.phi.source is another network.

    Returns:
        The model as the mesh stage loads it, in evaluation mode, and the values logged per step.

    Raises:
        NumericsError: if the optimisation died: see the recipe's watchdog.
    """
    place = devices.pick(device, given_as="device")
    with temporary_folder() as name:
        work = Path(name)
        return optimize_in(
            work, "run", recipe, text, prior, seed=seed, device=place, progress=progress, phi=phi
        )


def optimize_in(
    work: Path,
    key: str,
    recipe: Recipe,
    text: EmbeddedPrompt,
    prior: Teacher,
    *,
    seed: int,
    device: torch.device,
    progress: bool,
    phi: Prior | None,
) -> OptimizedModel:
    """Optimise with checkpoints in `work / key`, or resume there; see `optimize_model`.

    A finished run leaves its last checkpoint there, from which the result can be loaded again.
    """
    with (
        explained(work),
        open_scratch(work, key) as scratch,
        monitor_of(text.prompt, progress) as monitor,
    ):
        result = optimize(
            recipe,
            seed=seed,
            prior=prior,
            text=text.features.to(device),
            prompts=text.prompts,
            scratch=scratch,
            device=device,
            monitor=monitor,
            phi=phi,
        )
        model = _as_loaded(result.model, recipe).to(device)
    return replace(result, model=model)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a new folder of the system's temporary one, removed with its `with` block."""
    return tempfile.TemporaryDirectory(prefix="dreamfusion-kit-")


def _as_loaded(model: NerfModel, recipe: Recipe) -> NerfModel:
    """Return `model` on the CPU as the stages load it: no occupancy grid, one field of several."""
    with temporary_folder() as name:
        directory = Path(name)
        with explained(directory):
            model.save(directory)
        return NerfModel.load(directory, recipe)


@contextmanager
def monitor_of(prompt: str, progress: bool) -> Generator[Monitor, None, None]:
    """Report progress on stderr, or nowhere."""
    if not progress:
        yield Monitors()
        return
    with ConsoleMonitor(shortened(prompt, _LONGEST_NAME)) as console:
        yield console
