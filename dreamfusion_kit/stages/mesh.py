"""Stage mesh: a field becomes a textured mesh."""

import time
from pathlib import Path

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.from_model import mesh_from_model
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.suite import resolve
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import SuiteLayout


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Extract the asset's surface and write it in every format."""
    started = time.monotonic()
    resolved = resolve(workspace, suite, asset)
    own = SuiteLayout(workspace, suite).asset(asset)
    files.check_writable(own.mesh, folder=True)
    origin.check_field(own, resolved)
    field_path = own.field / "field.safetensors"
    model = NerfModel.load(own.field, resolved.recipe).to(device)
    mesh = mesh_from_model(model, resolved.recipe)
    field_sha256 = files.sha256(field_path)
    # The metadata is part of the GLB's bytes, so it names no time and no machine.
    made_from = {
        "generator": "dreamfusion-kit",
        "asset": asset,
        "prompt": resolved.prompt,
        "seed": resolved.seed,
        "recipe": resolved.recipe_name,
        "identity": resolved.identity,
        "field_sha256": field_sha256,
    }
    with files.new_directory(own.mesh) as directory:
        write_mesh(
            directory,
            mesh,
            name=asset,
            formats=resolved.recipe.mesh.formats,
            provenance=made_from,
        )
        origin.write_mesh(directory, resolved)
    record = provenance.record(
        device=device,
        code=code_digest("mesh"),
        inputs={"asset": resolved.identity, "field": field_sha256},
    )
    files.write_json(own.run("mesh"), record)
    seconds = time.monotonic() - started
    cost = provenance.stage_cost(workspace=workspace, device=device, seconds=seconds)
    files.write_json(own.cost("mesh"), cost)
    return own.mesh
