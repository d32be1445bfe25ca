"""Stage optimize: text features become a field, by score distillation.

Checkpoints lie in `.work/<hash of all inputs>`, outside the outputs, which DVC removes
before it runs a stage. A killed run goes on from there; a run of other inputs cannot.
"""

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import dreamfusion_kit
from dreamfusion_kit import provenance
from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.field.storage import save_field
from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch, remove_scratch
from dreamfusion_kit.optimize.lock import die_with_parent
from dreamfusion_kit.optimize.loop import OptimizedField, optimize
from dreamfusion_kit.optimize.monitor import ConsoleMonitor, LiveMonitor, Monitors
from dreamfusion_kit.priors.text import load_text
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.suite import ResolvedAsset, resolve
from dreamfusion_kit.stages import files, models
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

# Code that decides the result: a checkpoint of other code is not gone on with.
CODE = (
    "camera",
    "field",
    "guidance",
    "optimize",
    "optimizer_state.py",
    "priors",
    "recipe",
    "records.py",
    "renderer",
    "seeding.py",
)


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Optimise the asset's field, or go on with it; write the field, previews and curves."""
    if "DVC_STAGE" in os.environ:  # DVC's killed; a shell's background run outlives its shell
        die_with_parent()
    resolved = resolve(workspace, suite, asset)
    layout = SuiteLayout(workspace, suite)
    own = layout.asset(asset)
    lock_path = layout.model(resolved.recipe_name)
    inputs = _inputs(resolved, own, lock_path)
    prior = models.load_prior(resolved.recipe.prior, lock_path, workspace, device)
    text, prompts = load_text(own.text)
    key = identity({**inputs, "machine": _machine(device)})
    with open_scratch(workspace / ".work", key) as scratch, ConsoleMonitor(asset) as console:
        result = optimize(
            resolved.recipe,
            seed=resolved.seed,
            prior=prior,
            text=text.to(device),
            prompts=prompts,
            scratch=scratch,
            device=device,
            monitor=Monitors(console, LiveMonitor(scratch.live)),
        )
        _write(own, resolved, scratch, result)
        record = provenance.record(
            workspace=workspace, device=device, inputs=inputs, seconds=result.seconds
        )
        files.write_json(own.run("optimize"), record)
        remove_scratch(scratch)
    return own.field


def _write(
    own: AssetLayout, resolved: ResolvedAsset, scratch: Scratch, result: OptimizedField
) -> None:
    with files.new_directory(own.field) as directory:
        save_field(directory / "field.safetensors", result.field, resolved.recipe.field)
        if isinstance(result.background, BackgroundMlp):
            save_file(result.background.state_dict(), directory / "background.safetensors")
        if result.proposal is not None:
            save_field(directory / "proposal.safetensors", result.proposal, resolved.recipe.field)
        shutil.copytree(scratch.previews, directory / "previews")
        shutil.copytree(scratch.live, directory / "live")


def _inputs(resolved: ResolvedAsset, own: AssetLayout, lock_path: Path) -> dict[str, str]:
    """Return the hashes of all that decides the field, apart from the machine."""
    recipe = resolved.recipe.model_dump(mode="json", exclude={"summary", "mesh"})
    return {
        "recipe": identity(recipe),
        "asset": identity({"prompt": resolved.prompt, "seed": resolved.seed}),
        "text": files.sha256(own.text),
        "model": files.sha256(lock_path),
        "code": identity(_code()),
    }


def _machine(device: torch.device) -> list[str]:
    """Return what else decides the bytes: a GPU's name or a CPU's instructions, threads, torch."""
    here = provenance.machine(device)
    flags = here["cpu_flags"] if device.type == "cpu" else []
    return [here["device"], *flags, str(here["threads"]), str(torch.__version__)]


def _code() -> dict[str, str]:
    """Return the hash of each file of `CODE`."""
    root = Path(str(dreamfusion_kit.__file__)).parent
    files_by_name = {path.relative_to(root): path for path in sorted(root.rglob("*.py"))}
    return {
        name.as_posix(): files.sha256(path)
        for name, path in files_by_name.items()
        if name.parts[0] in CODE
    }
