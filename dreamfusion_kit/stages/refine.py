"""Stage refine: the coarse mesh becomes a better one, by score distillation on its own pictures.

Checkpoints lie in `.work/<hash of all inputs>`, as those of the optimize stage do.
"""

import shutil
from pathlib import Path
from typing import Any, cast

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.inputs import REFINE_SECTIONS, sections
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.refined import bake_refined, read_surface
from dreamfusion_kit.mesh.skin import skin_albedo
from dreamfusion_kit.mesh.start import start_from
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize import trace_file
from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch, remove_scratch
from dreamfusion_kit.optimize.loop import run as optimize
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, CurveMonitor, Monitor, Monitors
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.optimize.trace import Digests
from dreamfusion_kit.priors.text import load_text
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.recipe.schema import RefineSection
from dreamfusion_kit.records import Rays
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.inputs import coarse_facts
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.stages.scratch import write_note

_SURFACE = "mesh.obj"


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
    origin.check_field(own, resolved)
    origin.check_mesh(own, resolved)
    inputs = _inputs(resolved, own, lock_path)
    prior = models.load_prior(resolved.recipe.prior, lock_path, workspace, device)
    text, prompts = load_text(own.text)
    expected = guidance_prompts(resolved.prompt, section.guidance)
    origin.check_prompts(own.text, prompts, expected, made_by="embed")
    field = NerfModel.load(own.field, resolved.recipe).to(device)
    key = run_key(inputs, device)
    with open_scratch(workspace / ".work", key) as scratch, ConsoleMonitor(asset) as console:
        write_note(scratch.directory, suite=suite, asset=asset, stage="refine")
        model = _coarse(field, resolved, section, own, device)
        done = optimize(
            SurfaceTrainee(section, model, lambda rays, draw: _behind(field, rays, draw)),
            surface_method(resolved.recipe, section),
            seed=resolved.seed,
            prior=prior,
            text=text.to(device),
            prompts=prompts,
            scratch=scratch,
            device=device,
            monitor=Monitors(console, CurveMonitor(scratch.live), *also),
        )
        mesh = _baked(model, resolved, own, device)
        _write(own, resolved, scratch, mesh, inputs["mesh"], done.digests)
        record = provenance.record(device=device, code=code_digest("refine"), inputs=inputs)
        files.write_json(own.run("refine"), record)
        cost = provenance.stage_cost(workspace=workspace, device=device, seconds=done.seconds)
        files.write_json(own.cost("refine"), cost)
        remove_scratch(scratch)
    return own.refined


def _coarse(
    field: NerfModel,
    resolved: ResolvedAsset,
    section: RefineSection,
    own: AssetLayout,
    device: torch.device,
) -> SurfaceModel:
    """Return the model before the first step: the coarse mesh in the field's colours."""
    seen = skin_albedo(field.densities, field.albedo, resolved.recipe.mesh.texture_depth)
    start = start_from(
        read_surface(own.mesh / _SURFACE),
        seen,
        bounding_radius=field.bounding_radius,
        device=device,
    )
    return SurfaceModel(section, start).to(device)


def _behind(field: NerfModel, rays: Rays, generator: torch.Generator) -> torch.Tensor:
    return field.draw_background(rays, generator=generator)


def _baked(
    model: SurfaceModel, resolved: ResolvedAsset, own: AssetLayout, device: torch.device
) -> BakedMesh:
    with torch.no_grad():
        surface = model.surface()
    facts = cast(dict[str, Any], coarse_facts(own))
    section = resolved.recipe.mesh
    return bake_refined(surface, model.texture, section, facts=facts, device=device)


def _write(
    own: AssetLayout,
    resolved: ResolvedAsset,
    scratch: Scratch,
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
        shutil.copytree(scratch.previews, directory / "previews")
        shutil.copytree(scratch.live, directory / "live")
        trace_file.write(directory, digests)
        origin.write_refined(directory, resolved)


def _inputs(resolved: ResolvedAsset, own: AssetLayout, lock_path: Path) -> dict[str, str]:
    """Return the hashes of everything that determines the mesh, apart from the machine."""
    return {
        "recipe": identity(sections(resolved.recipe, *REFINE_SECTIONS)),
        "asset": identity({"prompt": resolved.prompt, "seed": resolved.seed}),
        "text": files.sha256(own.text, made_by="embed"),
        "model": files.sha256(lock_path, made_by="fetch"),
        "field": files.sha256(own.field / "field.safetensors", made_by="optimize"),
        "mesh": files.sha256(own.mesh / _SURFACE, made_by="mesh"),
        "code": code_digest("refine"),
    }
