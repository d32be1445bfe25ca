"""Where pretrained files come from, and the hashes that pin them.

`fetch` may use the network and returns a lock: the hash of every file. `locate` never
does, and finds the directory whose files are those of the lock, so that a later stage reads
exactly the bytes that were fetched. The same functions serve the priors and the
evaluation's CLIP. What the files say is checked in `config/model_files.py`.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple, assert_never

from huggingface_hub import is_offline_mode

from dreamfusion_kit import packaged
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.files import sha256
from dreamfusion_kit.priors.config.shards import check_indices
from dreamfusion_kit.priors.source import hub, listing, model_lock, places
from dreamfusion_kit.priors.source.model_lock import Lock, LockedFile, locked_file
from dreamfusion_kit.priors.source.unavailable import explain
from dreamfusion_kit.recipe.schema import (
    BundledSourceSection,
    BundledViewsSection,
    HubMirrorSection,
    HubSourceSection,
    LocalSourceSection,
    PartSourceSection,
    SourceSection,
    WeightsFileSection,
)

Source = SourceSection | PartSourceSection | BundledViewsSection


class Fetched(NamedTuple):
    """Where the files are, and what pins them. One weights file is its own directory."""

    directory: Path
    lock: Lock


def fetch(source: Source, workspace: Path, *, offline: bool = False) -> Lock:
    """Bring the files of `source` here and return their lock: see `bring`."""
    return bring(source, workspace, offline=offline).lock


def bring(source: Source, workspace: Path, *, offline: bool = False) -> Fetched:
    """Bring the files of `source` here and return where they are, and their lock.

    A hub source's mirrors are tried in order. Files in the hub's local cache are not fetched
    again, and a large file whose download was killed resumes where it stopped.

    Args:
        source: A recipe's prior, or the evaluation's CLIP.
        workspace: The folder that a local source's path is relative to.
        offline: Use only what is in the hub's local cache, as HF_HUB_OFFLINE=1 does.

    Raises WeightsError if the files cannot be obtained, do not fit on the disk, or are not
    those that the hub lists (a mismatching file is removed), or if an index of weights names
    files that are not among them.
    """
    match source:
        case BundledSourceSection() | BundledViewsSection():
            directory = _bundled(source)
            lock = _lock(source, directory)
        case LocalSourceSection():
            directory = places.model_directory(source.path, workspace)
            lock = _lock(source, directory)
        case WeightsFileSection():
            file = places.model_file(source.path, workspace)
            return Fetched(file, _lock_file(source, file))
        case HubSourceSection():
            place, snapshot = _snapshot(source, offline=offline or is_offline_mode())
            directory, lock = snapshot.directory, _lock(source, snapshot.directory)
            hub.refuse_damaged(place, snapshot, {name: lock[name]["sha256"] for name in lock})
        case _:
            assert_never(source)
    _check_indices(directory, lock)
    return Fetched(directory, lock)


def locate(source: Source, workspace: Path, lock: object) -> Path:
    """Return the directory of `source` whose files are those of `lock`, a lock file's content.

    Several of a hub source and its mirrors can be in the cache, complete or in part; only the
    lock says which of them was fetched. Never uses the network.
    """
    expected = model_lock.checked(lock)
    match source:
        case BundledSourceSection() | BundledViewsSection():
            directory = _bundled(source)
            _verify(source, directory, expected)
            return directory
        case LocalSourceSection():
            directory = places.model_directory(source.path, workspace)
            _verify(source, directory, expected)
            return directory
        case WeightsFileSection():
            file = places.model_file(source.path, workspace)
            if _lock_file(source, file) != expected:
                raise model_lock.changed(file.parent, file.name, "not the one in the lock file")
            return file
        case HubSourceSection():
            return _locked_snapshot(source, expected)
        case _:
            assert_never(source)


def present(source: Source, workspace: Path) -> Path:
    """Return the first directory of `source` that is present, complete or not and unchecked.

    For estimates made before anything is fetched; stages that compute use `locate`.
    """
    match source:
        case BundledSourceSection() | BundledViewsSection():
            return _bundled(source)
        case LocalSourceSection():
            return places.model_directory(source.path, workspace)
        case WeightsFileSection():
            return places.model_file(source.path, workspace)
        case HubSourceSection():
            repositories = _places(source)
            for directory in map(hub.snapshot_directory, repositories):
                if directory.is_dir():
                    return directory
            names = " or ".join(map(_name, repositories))
            raise WeightsError(f"{names}: not in the cache; run the fetch stage")
        case _:
            assert_never(source)


def _bundled(source: BundledSourceSection | BundledViewsSection) -> Path:
    """Return the directory of a model that is part of the package."""
    directory = packaged.MODELS / source.name
    if not directory.is_dir():
        raise WeightsError(
            f"bundled model {source.name}: missing from the installation; expected {directory}; "
            "install dreamfusion-kit again"
        )
    return directory


def _lock_file(source: WeightsFileSection, file: Path) -> Lock:
    """Return the lock of one file, or raise WeightsError where it is not the pinned one."""
    actual = sha256(file)
    if actual != source.sha256:
        raise WeightsError(
            f"{source.path}: has the sha256 {actual}; expected {source.sha256}, which the recipe "
            "pins; restore the file, or write its hash into the recipe"
        )
    return {file.name: LockedFile(sha256=actual, size_bytes=file.stat().st_size)}


def _places(source: HubSourceSection) -> tuple[HubMirrorSection, ...]:
    """Return the repository and its mirrors, in the order in which they are tried."""
    return (
        HubMirrorSection(repository=source.repository, revision=source.revision),
        *source.mirrors,
    )


def _snapshot(source: HubSourceSection, *, offline: bool) -> tuple[HubMirrorSection, hub.Snapshot]:
    """Return the first of the repository and its mirrors that is available."""
    bring = hub.cached if offline else hub.download
    complaints: list[str] = []
    for place in _places(source):
        try:
            return place, bring(place, source.files)
        except WeightsError:  # a full disk is just as full for a mirror
            raise
        except Exception as error:  # The errors of client, HTTP and system share no base class.
            complaints.append(f"{_name(place)}: {explain(error, place, source)}")
    raise WeightsError("\n".join(complaints))


def _locked_snapshot(source: HubSourceSection, expected: Lock) -> Path:
    complaints: list[str] = []
    for place in _places(source):
        directory = hub.snapshot_directory(place)
        if not directory.is_dir():
            complaints.append(
                f"{_name(place)}: not in the cache {directory.parents[2]}; expected the files that "
                "were fetched and locked; run the fetch stage again"
            )
            continue
        try:
            _verify(source, directory, expected)
        except WeightsError as error:
            complaints.append(f"{_name(place)}: {error}")
        else:
            return directory
    raise WeightsError("\n".join(complaints))


def _name(place: HubMirrorSection) -> str:
    return f"{place.repository} at {place.revision}"


def _lock(source: Source, directory: Path) -> Lock:
    """Return the hash and size of every file of `source`."""
    return {name: locked_file(path) for name, path in _files(source, directory).items()}


def _verify(source: Source, directory: Path, expected: Lock) -> None:
    """Raise WeightsError at the first file that is not the locked one."""
    model_lock.verify(directory, _files(source, directory), expected)
    _check_indices(directory, expected)


def _check_indices(directory: Path, names: Iterable[str]) -> None:
    """Refuse indices of split weights that name anything but the locked files beside them."""
    folders: dict[PurePosixPath, set[str]] = {}
    for path in map(PurePosixPath, names):
        folders.setdefault(path.parent, set()).add(path.name)
    for folder, locked in sorted(folders.items()):
        check_indices(directory / folder, locked)


def _files(source: Source, directory: Path) -> dict[str, Path]:
    """Return every file of `source` that the kit may read, by its path, in order of path.

    The hub's cache is shared: files of the same commit that others fetched are ignored. Beside the
    source's own files in a component's folder they are refused: a library might read them.
    """
    allowed = model_lock.allowed_files(directory)
    here = {path.relative_to(directory).as_posix(): path for path in allowed}
    if not isinstance(source, HubSourceSection):
        return here
    own = listing.matching_names(here, source.files)
    # The repository's own folder belongs to everybody, unless it is itself the component.
    top = set[PurePosixPath]() if "config.json" in own else {PurePosixPath()}
    folders = {PurePosixPath(name).parent for name in own} - top
    for name in sorted(here.keys() - own):
        if PurePosixPath(name).parent in folders:
            raise WeightsError(
                f"{directory.name}/{name}: lies in the hub's cache beside the source's files "
                "and is none of them; expected those alone in each of their folders; name it in "
                "`files`, delete it, or set HF_HUB_CACHE to another folder"
            )
    return {name: here[name] for name in here if name in own}
