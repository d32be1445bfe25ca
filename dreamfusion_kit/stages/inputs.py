"""What an asset's mesh says of itself, compared with whose it should be.

A mesh states its asset, the field it was made from and the hash of each of its files. So
another asset's field or mesh, put in this one's place, is refused and not measured.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue, ValidationError

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import Hash, InputsEntry
from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.recipe.suite import ResolvedAsset
from dreamfusion_kit.stages import files
from dreamfusion_kit.stages.layout import AssetLayout

_AGAIN = "run `dvc repro`"


class MeshOrigin(Section):
    """Whose a mesh is and what it was made from."""

    generator: str
    asset: str
    prompt: str
    seed: int
    recipe: str
    identity: Hash
    field_sha256: Hash


class MeshEntry(Section):
    """The mesh.json of one asset: facts of its surface, its origin, its files by their hash."""

    model_config = Section.model_config | {"extra": "allow"}  # the facts

    origin: MeshOrigin
    files: Annotated[dict[str, Hash], Field(min_length=1)]
    watertight: bool
    components: int

    @property
    def facts(self) -> dict[str, JsonValue]:
        """Return the facts alone."""
        return self.model_dump(mode="json", exclude={"origin", "files"})


def checked_inputs(
    own: AssetLayout, resolved: ResolvedAsset
) -> tuple[dict[str, JsonValue], InputsEntry]:
    """Return the mesh's facts, and the hashes of what `evaluate` measures.

    Raises:
        EvaluationError: where mesh or field are not this asset's own, or a file was changed
            after the mesh stage wrote it.
    """
    entry = mesh_entry(own, resolved)
    field_path = own.field / "field.safetensors"
    if not field_path.is_file():
        raise EvaluationError(f"{field_path}: found no field, expected one; {_AGAIN}")
    found = files.sha256(field_path)
    if found != entry.origin.field_sha256:
        raise EvaluationError(
            f"{field_path}: found a field other than the one that {own.mesh / 'mesh.json'} was "
            f"made from ({found:.12} and {entry.origin.field_sha256:.12}), expected the same; "
            f"{_AGAIN}"
        )
    for name, expected in entry.files.items():
        _require_hash(own.mesh / name, expected)
    return entry.facts, InputsEntry(
        field_sha256=found, mesh_sha256=files.sha256(own.mesh / "mesh.json")
    )


def mesh_entry(own: AssetLayout, resolved: ResolvedAsset) -> MeshEntry:
    """Return the asset's mesh.json; raise where it is another asset's.

    Not compared is the recipe: a change of what neither field nor mesh reads reruns neither.
    """
    path = own.mesh / "mesh.json"
    data: Any = files.read_json(path, made_by="mesh")
    try:
        entry = MeshEntry.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise EvaluationError(
            f"{path}: {key}: {first['msg']}, expected the mesh.json of this version; {_AGAIN}"
        ) from None
    origin = entry.origin
    expected = (own.asset, resolved.prompt, resolved.seed)
    if (origin.asset, origin.prompt, origin.seed) != expected:
        raise EvaluationError(
            f"{path}: found the mesh of {origin.asset} ({origin.prompt!r}, seed {origin.seed}), "
            f"expected that of {own.asset} ({resolved.prompt!r}, seed {resolved.seed}); {_AGAIN}"
        )
    if any(Path(name).name != name for name in entry.files):
        raise EvaluationError(f"{path}: files: found a path, expected names; {_AGAIN}")
    return entry


def _require_hash(path: Path, expected: str) -> None:
    found = files.sha256(path) if path.is_file() else "no file"
    if found != expected:
        raise EvaluationError(
            f"{path}: found {found:.12}, expected {expected:.12} as mesh.json says; {_AGAIN}"
        )
