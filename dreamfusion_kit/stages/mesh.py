"""Stage mesh: a field, or a file that others made, becomes a textured mesh."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamfusion_kit import files, provenance
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.from_model import mesh_from_model
from dreamfusion_kit.mesh.imported.convert import ImportRecord, convert
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.recipe.workspace import asset_source
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout


@dataclass(frozen=True)
class _Made:
    """A mesh, what it was made from by name, the hash of that, and an import's record."""

    mesh: BakedMesh
    source: str
    sha256: str
    record: ImportRecord | None


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Extract the asset's surface, or convert its imported file, and write it in every format."""
    started = time.monotonic()
    resolved = resolve(workspace, suite, asset)
    own = SuiteLayout(workspace, suite).asset(asset)
    files.check_writable(own.mesh, folder=True)
    if resolved.imported is None:
        made = _from_field(own, resolved, device)
    else:
        made = _from_file(workspace, resolved, resolved.imported)
    # The metadata is part of the GLB's bytes, so it names no time and no machine.
    made_from: dict[str, Any] = {
        "generator": "dreamfusion-kit",
        "asset": asset,
        "prompt": resolved.prompt,
        "seed": resolved.seed,
        "recipe": resolved.recipe_name,
        "identity": resolved.identity,
        f"{made.source}_sha256": made.sha256,
    }
    if made.record is not None:
        made_from["import"] = made.record
    with files.new_directory(own.mesh) as directory:
        write_mesh(
            directory,
            made.mesh,
            name=asset,
            formats=resolved.recipe.mesh.formats,
            provenance=made_from,
        )
        if made.record is not None:
            files.write_json(directory / "import.json", made.record)
        origin.write_mesh(directory, resolved)
    record = provenance.record(
        device=device,
        code=code_digest("mesh"),
        inputs={"asset": resolved.identity, made.source: made.sha256},
    )
    files.write_json(own.run("mesh"), record)
    seconds = time.monotonic() - started
    cost = provenance.stage_cost(workspace=workspace, device=device, seconds=seconds)
    files.write_json(own.cost("mesh"), cost)
    return own.mesh


def _from_field(own: AssetLayout, resolved: ResolvedAsset, device: torch.device) -> _Made:
    origin.check_field(own, resolved)
    model = NerfModel.load(own.field, resolved.recipe).to(device)
    mesh = mesh_from_model(model, resolved.recipe)
    return _Made(mesh, "field", files.sha256(own.field / "field.safetensors"), None)


def _from_file(workspace: Path, resolved: ResolvedAsset, section: ImportSection) -> _Made:
    source = asset_source(workspace, resolved.suite, resolved.id)
    size = resolved.recipe.mesh.texture_size_px
    imported = convert(source, section, texture_size_px=size)
    return _Made(imported.mesh, "file", section.files[section.file], imported.record)
