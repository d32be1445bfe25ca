"""Stage refine: the coarse mesh becomes a better one, by score distillation on its own pictures.

Checkpoints lie in `.work/<hash of all inputs>`, as those of the optimize stage do.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.inputs import REFINE_SECTIONS, sections
from dreamfusion_kit.mesh.export import albedo_file, write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.optimize import trace_file
from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch, remove_scratch
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, CurveMonitor, Monitor, Monitors
from dreamfusion_kit.optimize.phases import Guide, Phase, previews, run_phases
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.optimize.trace import Digests
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.text import TextFeatures, load_text
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.recipe.schema import Recipe, RefineSection
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.coarse import (
    SURFACE,
    Coarse,
    baked,
    of_field,
    of_import,
)
from dreamfusion_kit.stages.inputs import coarse_facts
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.stages.notes import note_box_projection
from dreamfusion_kit.stages.scratch import write_note


def run(
    workspace: Path,
    suite: str,
    asset: str,
    device: torch.device,
    *,
    also: tuple[Monitor, ...] = (),
) -> Path:
    """Refine the asset's mesh, or resume that; write the mesh, previews and curves.

    Raises:
        RecipeError: if the asset's recipe has no refinement.
    """
    resolved = resolve(workspace, suite, asset)
    section = resolved.recipe.refine
    if section is None:
        raise RecipeError(
            f"{asset}: found refine: null in its recipe {resolved.recipe_name}, expected a "
            "section; its final mesh is that of the mesh stage"
        )
    layout = SuiteLayout(workspace, suite)
    own = layout.asset(asset)
    lock_path = layout.model(resolved.recipe_name)
    files.check_writable(own.refined, folder=True)
    if resolved.imported is None:
        origin.check_field(own, resolved)
    origin.check_mesh(own, resolved)
    inputs = _inputs(resolved, own, lock_path)
    guides = _Guides(resolved, own.text, lock_path, workspace, device)
    for key in resolved.recipe.guidances:  # now, and not when the phase that reads them begins
        guides.texts(key)
    key = run_key(inputs, device)
    with open_scratch(workspace / ".work", key) as scratch, ConsoleMonitor(asset) as console:
        write_note(scratch.directory, suite=suite, asset=asset, stage="refine")
        coarse = (
            of_field(own, resolved, section, device)
            if resolved.imported is None
            else of_import(own, resolved, section, device)
        )
        model = SurfaceModel(section, coarse.start, seed=resolved.seed).to(device)
        phases = phases_of(resolved.recipe, section, model, coarse, guides.guide)
        done = run_phases(
            phases,
            seed=resolved.seed,
            scratch=scratch,
            device=device,
            monitor=Monitors(console, CurveMonitor(scratch.live), *also),
        )
        facts = cast(dict[str, Any], coarse_facts(own))
        mesh = baked(coarse, model, resolved.recipe.mesh, facts, device)
        note_box_projection(asset, mesh)
        _write(own, resolved, scratch, phases, mesh, inputs["mesh"], done.digests)
        record = provenance.record(device=device, code=code_digest("refine"), inputs=inputs)
        files.write_json(own.run("refine"), record)
        cost = provenance.stage_cost(workspace=workspace, device=device, seconds=done.seconds)
        files.write_json(own.cost("refine"), cost)
        remove_scratch(scratch)
    return own.refined


@dataclass(frozen=True)
class _Guides:
    """Loads what guides a phase; the prior once, since all phases have the same."""

    resolved: ResolvedAsset
    text: Path
    lock: Path
    workspace: Path
    device: torch.device

    def texts(self, key: str) -> tuple[TextFeatures, dict[str, str]]:
        recipe = self.resolved.recipe
        first = recipe.text_key(key)
        text, prompts = load_text(self.text, "" if first == "guidance" else first)
        expected = guidance_prompts(self.resolved.prompt, recipe.guidances[key])
        origin.check_prompts(self.text, prompts, expected, made_by="embed")
        return text, prompts

    def guide(self, key: str) -> Guide:
        recipe, (text, prompts) = self.resolved.recipe, self.texts(key)
        phi = models.load_phi(recipe, self.lock, self.workspace, self.device, key=key)
        return Guide(self._prior, phi, text.to(self.device), prompts)

    @cached_property
    def _prior(self) -> Teacher:
        recipe, key = self.resolved.recipe, "refine.phases[0].guidance"
        return models.load_prior(recipe, self.lock, self.workspace, self.device, key=key)


def phases_of(
    recipe: Recipe,
    section: RefineSection,
    model: SurfaceModel,
    coarse: Coarse,
    guide: Callable[[str], Guide],
) -> list[Phase]:
    """Return the phases of a refinement; `guide` loads what guides one, by its guidance's key."""

    def phase_at(index: int) -> Phase:
        phase = section.phases[index]
        return Phase(
            name=f"learns {phase.learns}",
            method=surface_method(recipe, section, index),
            trainee=lambda: SurfaceTrainee(phase, model, coarse.draw_background),
            guide=lambda: guide(f"refine.phases[{index}].guidance"),
        )

    return [phase_at(index) for index in range(len(section.phases))]


def _write(
    own: AssetLayout,
    resolved: ResolvedAsset,
    scratch: Scratch,
    phases: Sequence[Phase],
    mesh: BakedMesh,
    coarse_sha256: str,
    digests: Digests,
) -> None:
    # The metadata is part of the GLB's bytes, so it names no time and no machine.
    made_from = {
        "generator": "dreamfusion-kit",
        "asset": own.asset,
        "prompt": resolved.prompt,
        "seed": resolved.seed,
        "recipe": resolved.recipe_name,
        "coarse_mesh_sha256": coarse_sha256,
    }
    with files.new_directory(own.refined) as directory:
        write_mesh(
            directory,
            mesh,
            name=own.asset,
            formats=resolved.recipe.mesh.formats,
            provenance=made_from,
        )
        (directory / "previews").mkdir()
        for name, path in previews(scratch, phases).items():
            shutil.copyfile(path, directory / "previews" / name)
        shutil.copytree(scratch.live, directory / "live")
        trace_file.write(directory, digests)
        origin.write_refined(directory, resolved)


def _inputs(resolved: ResolvedAsset, own: AssetLayout, lock_path: Path) -> dict[str, str]:
    """Return the hashes of everything that determines the mesh, apart from the machine."""
    if resolved.imported is None:
        field = {"field": files.sha256(own.field / "field.safetensors", made_by="optimize")}
    else:
        texture = own.mesh / albedo_file(own.asset)
        field = {"texture": files.sha256(texture, made_by="mesh")}
    return {
        "recipe": identity(sections(resolved.recipe, *REFINE_SECTIONS)),
        "asset": identity({"prompt": resolved.prompt, "seed": resolved.seed}),
        "text": files.sha256(own.text, made_by="embed"),
        "model": files.sha256(lock_path, made_by="fetch"),
        **field,
        "mesh": files.sha256(own.mesh / SURFACE, made_by="mesh"),
        "code": code_digest("refine"),
    }
