"""What `evaluate` measures: checked to belong to the asset, and identified by hashes."""

from dreamfusion_kit import files
from dreamfusion_kit.evaluation.entry import InputsEntry
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import AssetLayout


def checked_inputs(own: AssetLayout, resolved: ResolvedAsset) -> tuple[MeshFacts, InputsEntry]:
    """Return the mesh's facts, and the hashes of the measured files.

    Raises:
        DreamFusionKitError: if mesh or field do not belong to this asset, or a file was changed
            after its stage wrote it.
    """
    field_sha256 = None
    if resolved.imported is None:
        origin.check_field(own, resolved)
        field_sha256 = files.sha256(own.field / "field.safetensors")
    origin.check_final_mesh(own, resolved)
    hashes = InputsEntry(field_sha256=field_sha256, mesh_sha256=mesh_hash(own, resolved))
    return mesh_facts(own, resolved), hashes


def mesh_facts(own: AssetLayout, resolved: ResolvedAsset) -> MeshFacts:
    """Return what was measured on the asset's final surface."""
    path = own.final_mesh(resolved) / "mesh.json"
    return files.read_json(path, MeshFacts, made_by=origin.made_by(resolved))


def coarse_facts(own: AssetLayout) -> MeshFacts:
    """Return what the mesh stage measured on the asset's surface."""
    return files.read_json(own.mesh / "mesh.json", MeshFacts, made_by="mesh")


def mesh_hash(own: AssetLayout, resolved: ResolvedAsset) -> str:
    """Return the hash of the final mesh's origin, which names each of its files by its hash."""
    path = own.final_mesh(resolved) / origin.NAME
    return files.sha256(path, made_by=origin.made_by(resolved))
