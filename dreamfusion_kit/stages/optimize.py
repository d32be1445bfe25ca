"""Stage optimize: text features become a field, by score distillation.

Checkpoints lie in `.work/<hash of all inputs>`, outside the outputs, which DVC removes
before it runs a stage. A killed run resumes there; a run with other inputs cannot.
"""

import shutil
from pathlib import Path

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.inputs import FIELD_SECTIONS, sections
from dreamfusion_kit.optimize import trace_file
from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch, remove_scratch
from dreamfusion_kit.optimize.loop import OptimizedModel, optimize
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, CurveMonitor, Monitor, Monitors
from dreamfusion_kit.optimize.proportion import complaints
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.priors.text import load_text
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.stages.scratch import write_note


def run(
    workspace: Path,
    suite: str,
    asset: str,
    device: torch.device,
    *,
    also: tuple[Monitor, ...] = (),
) -> Path:
    """Optimise the asset's field, or resume it; write the field, previews and curves."""
    resolved = resolve(workspace, suite, asset)
    origin.refuse_imported(resolved, "optimize")
    layout = SuiteLayout(workspace, suite)
    own = layout.asset(asset)
    lock_path = layout.model(resolved.recipe_name)
    files.check_writable(own.field, folder=True)
    inputs = _inputs(resolved, own, lock_path)
    prior = models.load_prior(resolved.recipe.prior, lock_path, workspace, device)
    text, prompts = load_text(own.text)
    expected = guidance_prompts(resolved.prompt, resolved.recipe.guidance)
    origin.check_prompts(own.text, prompts, expected, made_by="embed")
    key = run_key(inputs, device)
    with open_scratch(workspace / ".work", key) as scratch, ConsoleMonitor(asset) as console:
        write_note(scratch.directory, suite=suite, asset=asset, stage="optimize")
        result = optimize(
            resolved.recipe,
            seed=resolved.seed,
            prior=prior,
            text=text.to(device),
            prompts=prompts,
            scratch=scratch,
            device=device,
            monitor=Monitors(console, CurveMonitor(scratch.live), *also),
        )
        _write(own, resolved, scratch, result)
        record = provenance.record(device=device, code=code_digest("optimize"), inputs=inputs)
        files.write_json(own.run("optimize"), record)
        cost = provenance.stage_cost(workspace=workspace, device=device, seconds=result.seconds)
        files.write_json(own.cost("optimize"), cost)
        remove_scratch(scratch)
    return own.field


def _write(
    own: AssetLayout, resolved: ResolvedAsset, scratch: Scratch, result: OptimizedModel
) -> None:
    with files.new_directory(own.field) as directory:
        result.model.save(directory)
        shutil.copytree(scratch.previews, directory / "previews")
        shutil.copytree(scratch.live, directory / "live")
        warnings = complaints(resolved.recipe.optimize.penalties, result.history)
        files.write_json(directory / "live" / "warnings.json", {"warnings": warnings})
        trace_file.write(directory, result.digests)
        origin.write_field(directory, resolved)


def _inputs(resolved: ResolvedAsset, own: AssetLayout, lock_path: Path) -> dict[str, str]:
    """Return the hashes of everything that determines the field, apart from the machine."""
    return {
        "recipe": identity(sections(resolved.recipe, *FIELD_SECTIONS)),
        "asset": identity({"prompt": resolved.prompt, "seed": resolved.seed}),
        "text": files.sha256(own.text, made_by="embed"),
        "model": files.sha256(lock_path, made_by="fetch"),
        "code": code_digest("optimize"),
    }
