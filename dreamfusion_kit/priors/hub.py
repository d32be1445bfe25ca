"""One pinned revision of a Hugging Face repository, in the hub client's local cache.

The cache is shared with other programs: `blobs/` holds contents named by their hash, and
`snapshots/<revision>/` links to them by the files' names. The client starts a file again
when its download was killed; here a large file goes on where it stopped.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers, filter_repo_objects

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.schema import HubMirrorSection

_SHA256 = re.compile("[0-9a-f]{64}")


class Snapshot(NamedTuple):
    """The files of one revision, and what they are meant to be."""

    directory: Path
    sha256: dict[str, str]  # by file, where the hub tells it: for large files


def snapshot_directory(place: HubMirrorSection) -> Path:
    """Return where the cache has the files of a revision, whether or not they are there."""
    return _folder(place) / "snapshots" / place.revision


def download(place: HubMirrorSection, patterns: Sequence[str]) -> Snapshot:
    """Bring the files that match `patterns` into the cache; what is there stays.

    Raises WeightsError where the disk is too small for them, and errors of the client, of
    HTTP and of the system where they cannot be had.
    """
    files = _matching(_listing(place), patterns)
    if not files:
        raise FileNotFoundError(f"no file matches {', '.join(patterns)}")
    _check_space(place, files)
    small = [file.path for file in files if file.lfs is None]
    with _alone(place):
        # The small ones first: with them the list of files enters the cache, so that
        # `cached` can name what a killed download left out.
        _client_download(place, small)
        for file in files:
            if file.lfs is not None and not _is_here(place, file):
                _download_large(place, file)
        _client_download(place, patterns)
    hashes = {file.path: file.lfs.sha256 for file in files if file.lfs is not None}
    return Snapshot(snapshot_directory(place), hashes)


def cached(place: HubMirrorSection, patterns: Sequence[str]) -> Snapshot:
    """Return the files that match `patterns` without the network.

    Raises LocalEntryNotFoundError, which names them, where some are not in the cache.
    """
    directory = snapshot_directory(place)
    try:
        listing = get_cached_repo_tree(place.repository, revision=place.revision)
    except CachedRepoTreeNotFoundError:
        raise LocalEntryNotFoundError(f"not in the cache {constants.HF_HUB_CACHE}") from None
    names = [file.path for file in _matching(listing, patterns)]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise LocalEntryNotFoundError(f"the cache lacks {', '.join(missing)}")
    contents = {name: (directory / name).resolve().name for name in names}
    hashes = {name: blob for name, blob in contents.items() if _SHA256.fullmatch(blob)}
    return Snapshot(directory, hashes)


def refuse_damaged(place: HubMirrorSection, snapshot: Snapshot, found: Mapping[str, str]) -> None:
    """Raise WeightsError where a file is not what the hub says, and remove all such files.

    Args:
        place: Where they came from, for the message.
        snapshot: The files, and what they are meant to be.
        found: The sha256 that each of them has.
    """
    damaged = [name for name, sha256 in snapshot.sha256.items() if found[name] != sha256]
    for name in damaged:
        link = snapshot.directory / name
        link.resolve().unlink(missing_ok=True)
        link.unlink(missing_ok=True)
    if damaged:
        raise WeightsError(
            "\n".join(
                f"{place.repository} at {place.revision}: {name} has the sha256 {found[name]}; "
                f"expected {snapshot.sha256[name]}, as the hub lists it; it was damaged on its "
                "way or on this disk and is removed: run the fetch stage again"
                for name in damaged
            )
        )


def _folder(place: HubMirrorSection) -> Path:
    name = repo_folder_name(repo_id=place.repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def _alone(place: HubMirrorSection) -> AbstractContextManager[object]:
    """Wait for another process that fetches the same model: both would append to one file."""
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / _folder(place).name
    locks.mkdir(parents=True, exist_ok=True)
    return WeakFileLock(locks / "fetch.lock")


def _blob(place: HubMirrorSection, file: RepoFile) -> Path:
    """Return where the cache has a file's content: named by its sha256, or as Git names it."""
    name = file.blob_id if file.lfs is None else file.lfs.sha256
    return _folder(place) / "blobs" / name


def _part(place: HubMirrorSection, file: RepoFile) -> Path:
    """Return where the bytes of a file lie that is on its way."""
    blob = _blob(place, file)
    return blob.with_name(f"{blob.name}.incomplete")


def _listing(place: HubMirrorSection) -> list[RepoFile]:
    entries = HfApi().list_repo_tree(place.repository, revision=place.revision, recursive=True)
    return [entry for entry in entries if isinstance(entry, RepoFile)]


def _matching(files: Sequence[RepoFile], patterns: Sequence[str]) -> list[RepoFile]:
    return list(
        filter_repo_objects(files, allow_patterns=list(patterns), key=lambda file: file.path)
    )


def matching(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Return the paths that `patterns` ask for, as the hub's client reads them."""
    return set(filter_repo_objects(names, allow_patterns=list(patterns)))


def _is_here(place: HubMirrorSection, file: RepoFile) -> bool:
    return (snapshot_directory(place) / file.path).exists() or _blob(place, file).exists()


def _bytes_here(place: HubMirrorSection, file: RepoFile) -> int:
    """Return how many bytes an earlier run left; none where they cannot be this file's."""
    part = _part(place, file)
    num_bytes = part.stat().st_size if part.exists() else 0
    return num_bytes if num_bytes <= file.size else 0


def _check_space(place: HubMirrorSection, files: Sequence[RepoFile]) -> None:
    coming = [file for file in files if not _is_here(place, file)]
    needed = sum(file.size - _bytes_here(place, file) for file in coming)
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free
    if needed > free:
        raise WeightsError(
            f"{place.repository} at {place.revision}: {_gigabytes(needed)} are still to fetch; "
            f"found {_gigabytes(free)} free on the disk of {cache}; free some space there, or "
            "set HF_HUB_CACHE to a folder on a larger disk"
        )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


def _client_download(place: HubMirrorSection, patterns: Sequence[str]) -> None:
    """Let the client fetch and link files; contents that are in `blobs/` it only links."""
    snapshot_download(place.repository, revision=place.revision, allow_patterns=list(patterns))


def _download_large(place: HubMirrorSection, file: RepoFile) -> None:
    """Put a file's content into `blobs/`, behind the bytes that an earlier run left."""
    part, resume_size = _part(place, file), _bytes_here(place, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if resume_size else "wb") as stream:
        http_get(
            hf_hub_url(place.repository, file.path, revision=place.revision),
            stream,
            resume_size=resume_size,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.path,
        )
    part.replace(_blob(place, file))
