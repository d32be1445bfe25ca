"""One pinned revision of a Hugging Face repository, in the hub client's local cache.

The cache is shared with other programs: `blobs/` holds contents named by their hash, and
`snapshots/<revision>/` links to them by the files' names. The client itself is not used for
transfers: it takes file names from a server's headers, and restarts a file whose
download was killed. Here a name in `blobs/` is a hash, nothing outside the repository's own
folder is written or removed, and a large file resumes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, get_cached_repo_tree, hf_hub_url
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import listing, transfer
from dreamfusion_kit.priors.source.listing import RemoteFile
from dreamfusion_kit.recipe.schema import HubMirrorSection

_SHA256_DIGITS, _GIT_DIGITS = 64, 40


class Snapshot(NamedTuple):
    """The files of one revision, and their hashes as the hub reports them, by file."""

    directory: Path
    sha256: dict[str, str]  # of large files
    git_sha1: dict[str, str]  # of the others, as Git hashes a blob


def snapshot_directory(place: HubMirrorSection) -> Path:
    """Return where the cache keeps the files of a revision, whether or not they exist."""
    return _folder(place) / "snapshots" / place.revision


def download(place: HubMirrorSection, patterns: Sequence[str]) -> Snapshot:
    """Bring the files that match `patterns` into the cache; files already there stay.

    Raises WeightsError if the disk is too small for them or the hub's answers cannot be
    trusted, and errors of the client, of HTTP and of the system if they are unavailable.
    """
    everything = listing.remote_listing(place)
    files = listing.matching(everything, patterns)
    if not files:
        raise FileNotFoundError(f"no file matches {', '.join(patterns)}")
    listing.check_distinct(files, place)
    _check_space(place, files)
    with _alone(place):
        # First, so that `cached` can name the files that a killed download missed.
        _keep_listing(place, everything)
        for file in sorted(files, key=lambda file: file.size):
            if not (snapshot_directory(place) / file.path).exists():
                _bring(place, file)
                _link(place, file)
    return _snapshot(place, {file.path: file.blob for file in files})


def cached(place: HubMirrorSection, patterns: Sequence[str]) -> Snapshot:
    """Return the files that match `patterns` without the network.

    Raises LocalEntryNotFoundError, which names them, if some are not in the cache.
    """
    directory = snapshot_directory(place)
    names = [file.path for file in listing.matching(_kept_listing(place), patterns)]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise LocalEntryNotFoundError(f"the cache lacks {', '.join(missing)}")
    blobs = {name: _blob_of(place, name) for name in names}
    return _snapshot(place, {name: blob.name for name, blob in blobs.items() if blob is not None})


def refuse_damaged(place: HubMirrorSection, snapshot: Snapshot, found: Mapping[str, str]) -> None:
    """Raise WeightsError if a file is not what the hub says, and remove all such files.

    Only links of the snapshot and contents in the repository's own `blobs/` are removed.

    Args:
        place: Where they came from, for the message.
        snapshot: The files, and their expected hashes.
        found: The actual sha256 of each of them.
    """
    damaged = {
        name: f"the sha256 {found[name]}; expected {sha256}"
        for name, sha256 in snapshot.sha256.items()
        if found[name] != sha256
    }
    for name, expected in snapshot.git_sha1.items():
        actual = _git_sha1(snapshot.directory / name)
        if actual != expected:
            damaged[name] = f"the Git hash {actual}; expected {expected}"
    for name in damaged:
        _remove(place, name)
    if damaged:
        raise WeightsError(
            "\n".join(
                f"{place.repository} at {place.revision}: {name} has {what}, as the hub lists it; "
                "it was damaged on its way or on this disk and is removed: run the fetch stage "
                "again"
                for name, what in damaged.items()
            )
        )


def _snapshot(place: HubMirrorSection, blobs: Mapping[str, str]) -> Snapshot:
    def of_length(digits: int) -> dict[str, str]:
        return {name: blob for name, blob in blobs.items() if len(blob) == digits}

    directory = snapshot_directory(place)
    return Snapshot(directory, of_length(_SHA256_DIGITS), of_length(_GIT_DIGITS))


def _folder(place: HubMirrorSection) -> Path:
    name = repo_folder_name(repo_id=place.repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def _alone(place: HubMirrorSection) -> AbstractContextManager[object]:
    """Wait for another process that fetches the same model: both would append to one file."""
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / _folder(place).name
    locks.mkdir(parents=True, exist_ok=True)
    return WeakFileLock(locks / "fetch.lock")


def _blob(place: HubMirrorSection, file: RemoteFile) -> Path:
    """Return where the cache keeps a file's content: named by its sha256, or as Git names it."""
    return _folder(place) / "blobs" / file.blob


def _part(place: HubMirrorSection, file: RemoteFile) -> Path:
    """Return where the bytes of a partly downloaded file are."""
    blob = _blob(place, file)
    return blob.with_name(f"{blob.name}.incomplete")


def _listing_path(place: HubMirrorSection) -> Path:
    return _folder(place) / "listings" / f"{place.revision}.json"


def _keep_listing(place: HubMirrorSection, files: Sequence[RemoteFile]) -> None:
    target = _listing_path(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(listing.serialized(files))
    partial.replace(target)


def _kept_listing(place: HubMirrorSection) -> list[RemoteFile]:
    """Return the list of files that a download saved here, ours or the client's own."""
    path = _listing_path(place)
    if path.is_file():
        return listing.parse(path.read_bytes(), place)
    try:
        tree = get_cached_repo_tree(place.repository, revision=place.revision)
    except CachedRepoTreeNotFoundError:
        raise LocalEntryNotFoundError(f"not in the cache {constants.HF_HUB_CACHE}") from None
    entries = [
        {
            "type": "file",
            "path": file.path,
            "oid": file.blob_id,
            "size": file.size,
            "lfs": file.lfs and {"oid": file.lfs.sha256, "size": file.lfs.size},
        }
        for file in tree
    ]
    return listing.parse(json.dumps(entries).encode(), place)


def _check_space(place: HubMirrorSection, files: Sequence[RemoteFile]) -> None:
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


def _is_here(place: HubMirrorSection, file: RemoteFile) -> bool:
    return (snapshot_directory(place) / file.path).exists() or _blob(place, file).exists()


def _bytes_here(place: HubMirrorSection, file: RemoteFile) -> int:
    """Return how many bytes an earlier run left; 0 if they cannot belong to this file."""
    part = _part(place, file)
    num_bytes = part.stat().st_size if part.exists() else 0
    return num_bytes if num_bytes <= file.size else 0


def _bring(place: HubMirrorSection, file: RemoteFile) -> None:
    """Put a file's content into `blobs/`, after the bytes that an earlier run left."""
    part, blob = _part(place, file), _blob(place, file)
    if blob.exists():
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    if not _bytes_here(place, file):
        part.unlink(missing_ok=True)
    url = hf_hub_url(place.repository, file.path, revision=place.revision)
    transfer.append(url, part, file.size)
    part.replace(blob)


def _link(place: HubMirrorSection, file: RemoteFile) -> None:
    """Make the snapshot's link to a file's content, or a copy where links cannot be made."""
    snapshot = snapshot_directory(place)
    link, blob = snapshot / file.path, _blob(place, file)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not _is_inside(place, link):
        raise WeightsError(
            f"{place.repository} at {place.revision}: {file.path} would lie outside of the cache, "
            f"behind a link in {snapshot}; expected folders; remove that link"
        )
    link.unlink(missing_ok=True)  # a dangling one
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:  # Windows without permission to make links
        shutil.copyfile(blob, link)


def _is_inside(place: HubMirrorSection, link: Path) -> bool:
    """Return whether no folder on the way to a file of the snapshot is a link out of it."""
    return link.parent.resolve().is_relative_to(snapshot_directory(place).resolve())


def _blob_of(place: HubMirrorSection, name: str) -> Path | None:
    """Return the content in `blobs/` that the snapshot's `name` links to, if it does.

    The first link is what counts: `blobs/` may itself link to a store of several caches.
    """
    link, blobs = snapshot_directory(place) / name, _folder(place) / "blobs"
    if not link.is_symlink():
        return None
    target = Path(os.path.normpath(link.parent.resolve() / os.readlink(link)))
    return target if target.parent in (blobs, blobs.resolve()) else None


def _remove(place: HubMirrorSection, name: str) -> None:
    """Remove a file from the snapshot, and its content where that lies in `blobs/`."""
    link, blob = snapshot_directory(place) / name, _blob_of(place, name)
    if not _is_inside(place, link):
        return
    if blob is not None:
        blob.unlink(missing_ok=True)
    link.unlink(missing_ok=True)


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
