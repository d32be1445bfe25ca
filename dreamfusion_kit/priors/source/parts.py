"""A prior's files and what is added to them: several sources, one lock.

The lock has the model's files by their names and those of LoRAs, embeddings and another VAE
behind `@` and the recipe's own key, so that one lock file pins everything that a prior reads.
A recipe with further models has their locks in the same file, behind `@` and the model's key.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import fetch, model_lock, places
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe import schema

NOTHING: Mapping[str, Path] = MappingProxyType({})


class Model(NamedTuple):
    """Where a prior's files are, where what is added lies by its key, and what pins both."""

    directory: Path
    additions: Mapping[str, Path]
    lock: Lock


def bring(
    source: schema.ModelSourceSection, added: schema.Additions, workspace: Path, *, offline: bool
) -> Model:
    """Bring a model and what is added to it: see `fetch.bring`."""
    directory, lock = _bring_model(source, workspace, offline=offline)
    brought = {key: fetch.bring(part, workspace, offline=offline) for key, part in added.items()}
    locks = {key: part.lock for key, part in brought.items()}
    paths = {key: part.directory for key, part in brought.items()}
    return Model(directory, paths, joined(lock, locks))


def locate(
    source: schema.ModelSourceSection, added: schema.Additions, workspace: Path, lock: Lock
) -> Model:
    """Return where the files of `lock` are, without a network: see `fetch.locate`."""
    own, parts = split(lock, added)
    directory = _locate_model(source, workspace, own)
    paths = {key: fetch.locate(part, workspace, parts[key]) for key, part in added.items()}
    return Model(directory, paths, lock)


def joined(own: Lock, others: Mapping[str, Lock]) -> Lock:
    """Return one lock of a model's own files and of other locks by their keys."""
    lock = dict(own)
    for key, other in others.items():
        lock |= {f"{_prefix(key)}{name}": entry for name, entry in other.items()}
    return lock


def split(lock: Lock, keys: Iterable[str]) -> tuple[Lock, dict[str, Lock]]:
    """Return what `joined` joined: what belongs to none of `keys`, and each key's lock."""
    parts: dict[str, Lock] = {key: {} for key in keys}
    own: Lock = {}
    for name, entry in lock.items():
        key = next((key for key in parts if name.startswith(_prefix(key))), None)
        if key is None:
            own[name] = entry
        else:
            parts[key][name.removeprefix(_prefix(key))] = entry
    return own, parts


def weights_file(path: Path, key: str) -> Path:
    """Return the one safetensors file of an addition that is a file or a folder with one."""
    if path.is_file():
        return path
    found = sorted(path.rglob("*.safetensors"))
    if len(found) != 1:
        raise WeightsError(
            f"prior.{key}: found {len(found)} safetensors files in {path.name}; expected one; "
            "name it in the source's `files`, or use `kind: file`"
        )
    return found[0]


def _bring_model(
    source: schema.ModelSourceSection, workspace: Path, *, offline: bool
) -> tuple[Path, Lock]:
    if isinstance(source, schema.FileSourceSection):
        directory = _converted(source, workspace)
        return directory, model_lock.lock_of(directory)
    return fetch.bring(source, workspace, offline=offline)


def _locate_model(source: schema.ModelSourceSection, workspace: Path, lock: Lock) -> Path:
    if isinstance(source, schema.FileSourceSection):
        directory = _converted(source, workspace)
        model_lock.verify_made(directory, lock)
        return directory
    return fetch.locate(source, workspace, lock)


def _converted(source: schema.FileSourceSection, workspace: Path) -> Path:
    """Return the directory made from a single file, converting it where that is to be done."""
    file = places.model_file(source.path, workspace)
    # Imported here: torch and diffusers take seconds to import, and only this source needs them.
    from dreamfusion_kit.priors.source.single_file import convert

    return convert(source, file)


def _prefix(key: str) -> str:
    return f"@{key}/"
