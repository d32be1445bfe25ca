"""Checks that an output belongs to the asset that it is read for.

DVC knows which files a stage wrote, but not whether they were replaced by another asset's.
Each folder that a later stage reads therefore holds an `origin.json`: the asset, what
determined its content, and the hash of each file beside it. Text features carry their prompts.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic accepts the one in `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.identity.inputs import FIELD_SECTIONS, REFINE_SECTIONS, sections
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.stages.layout import AssetLayout

NAME = "origin.json"
_MAX_SHOWN_CHARACTERS = 60


@with_config(ConfigDict(extra="forbid"))
class Origin(TypedDict):
    """What a folder was made from.

    `sections` is the identity of the recipe sections that determined it; `files` has the
    SHA-256 of every file that lies directly in the folder.
    """

    asset: str
    prompt: str
    seed: int
    sections: str
    files: dict[str, str]


def write_field(directory: Path, resolved: ResolvedAsset) -> None:
    """Write the origin of a field, whose files are all there."""
    _write(directory, resolved, _field_sections(resolved))


def check_field(own: AssetLayout, resolved: ResolvedAsset) -> None:
    """Refuse a field of another asset, prompt, seed or recipe, or with other files."""
    _check(own.field, resolved, _field_sections(resolved), made_by="optimize")


def write_mesh(directory: Path, resolved: ResolvedAsset) -> None:
    """Write the origin of a mesh, whose files are all there."""
    _write(directory, resolved, resolved.identity)


def check_mesh(own: AssetLayout, resolved: ResolvedAsset) -> None:
    """Refuse a mesh of another asset, prompt, seed or recipe, or with other files."""
    _check(own.mesh, resolved, resolved.identity, made_by="mesh")


def write_refined(directory: Path, resolved: ResolvedAsset) -> None:
    """Write the origin of a refined mesh, whose files are all there."""
    _write(directory, resolved, _refine_sections(resolved))


def check_final_mesh(own: AssetLayout, resolved: ResolvedAsset) -> None:
    """Refuse a mesh that is not this asset's last: refined if its recipe refines."""
    if resolved.refines:
        _check(own.refined, resolved, _refine_sections(resolved), made_by="refine")
    else:
        check_mesh(own, resolved)


def made_by(resolved: ResolvedAsset) -> str:
    """Return the stage that makes an asset's final mesh."""
    return "refine" if resolved.refines else "mesh"


def refuse_imported(resolved: ResolvedAsset, stage: str) -> None:
    """Refuse to run a stage that makes a field for an asset whose mesh is imported."""
    if resolved.imported is not None:
        raise DreamFusionKitError(
            f"{stage} {resolved.id}: found an imported mesh ({resolved.imported.file}), which has "
            "no field; expected an asset that is made from its prompt; run its mesh stage"
        )


def check_prompts(
    path: Path, found: Mapping[str, str], expected: Mapping[str, str], *, made_by: str
) -> None:
    """Refuse text features of other prompts, or in another order."""
    if list(found.items()) == list(expected.items()):
        return
    for key, prompt in expected.items():
        if found.get(key) != prompt:
            raise _other(path, f"{key}: {_short(found.get(key))}", _short(prompt), made_by)
    raise _other(path, f"prompts for {', '.join(found)}", ", ".join(expected), made_by)


def _field_sections(resolved: ResolvedAsset) -> str:
    """Return the identity of what determines a field: the recipe without its mesh and summary."""
    return identity(sections(resolved.recipe, *FIELD_SECTIONS))


def _refine_sections(resolved: ResolvedAsset) -> str:
    """Return the identity of what determines a refined mesh: the recipe without its summary."""
    return identity(sections(resolved.recipe, *REFINE_SECTIONS))


def _write(directory: Path, resolved: ResolvedAsset, sections_identity: str) -> None:
    origin = Origin(
        asset=resolved.id,
        prompt=resolved.prompt,
        seed=resolved.seed,
        sections=sections_identity,
        files={path.name: files.sha256(path) for path in _files(directory)},
    )
    files.write_json(directory / NAME, origin)


def _check(
    directory: Path, resolved: ResolvedAsset, sections_identity: str, *, made_by: str
) -> None:
    path = directory / NAME
    found = files.read_json(path, Origin, made_by=made_by)
    for what, value, expected in (
        ("asset", found["asset"], resolved.id),
        ("prompt", found["prompt"], resolved.prompt),
        ("seed", found["seed"], resolved.seed),
        ("recipe", found["sections"], sections_identity),
    ):
        if value != expected:
            raise _other(path, f"the {what} {_short(value)}", _short(expected), made_by)
    here = {file.name for file in _files(directory)}
    for name in sorted(here ^ found["files"].keys()):
        state = "no file" if name not in here else "a file that the stage did not write"
        raise _other(directory / _printable(name), state, None, made_by)
    for name, sha256 in found["files"].items():
        if files.sha256(directory / name) != sha256:
            raise _other(directory / name, "other content", None, made_by)


def _printable(name: str) -> str:
    return name.encode("unicode_escape").decode()


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != NAME]


def _short(value: object) -> str:
    text = ascii(value)
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    return text[: _MAX_SHOWN_CHARACTERS - 3] + "..."


def _other(path: Path, found: str, expected: str | None, made_by: str) -> DreamFusionKitError:
    wanted = f"expected {expected}" if expected else "expected what the stage wrote"
    return DreamFusionKitError(
        f"{path}: found {found}, {wanted}; written by the {made_by} stage; run `dvc repro`"
    )
