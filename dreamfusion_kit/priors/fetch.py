"""Where pretrained files come from, and the hashes that pin them.

`fetch` may use the network; `locate` never does. `lock` describes a directory and
`verify` compares it with an earlier description, so that a later stage reads exactly
the bytes that were fetched. The same functions serve the priors and the evaluation's
CLIP.
"""

import fnmatch
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict, assert_never

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.schema import HubMirror, HubSource, LocalSource, Source

# Weights, configurations and vocabularies. Pickles (.bin, .pt, .ckpt) are never fetched.
ALLOWED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")


class LockedFile(TypedDict):
    """What is pinned of one file."""

    sha256: str
    size_bytes: int


Lock = dict[str, LockedFile]  # by path inside the directory, "/" between its parts


def fetch(source: Source, workspace: Path) -> Path:
    """Return the directory of `source`; downloads what of a pinned hub revision is not here."""
    return _find(source, workspace, local_only=False)


def locate(source: Source, workspace: Path) -> Path:
    """Return the directory of `source` without the network; it was fetched before."""
    return _find(source, workspace, local_only=True)


def lock(directory: Path) -> Lock:
    """Return the hash and size of every file that the kit may read, in order of path."""
    return {
        path.relative_to(directory).as_posix(): LockedFile(
            sha256=_sha256(path), size_bytes=path.stat().st_size
        )
        for path in _allowed_files(directory)
    }


def verify(directory: Path, expected: Mapping[str, LockedFile]) -> None:
    """Raise WeightsError at the first file that is not the one `lock` saw."""
    present = {path.relative_to(directory).as_posix(): path for path in _allowed_files(directory)}
    for name in sorted(present.keys() ^ expected.keys()):
        state = "missing" if name in expected else "not in the lock file"
        raise _changed(directory, name, state)
    for name, path in present.items():
        size = path.stat().st_size
        if size != expected[name]["size_bytes"]:
            raise _changed(directory, name, f"{size} bytes, not {expected[name]['size_bytes']}")
        if _sha256(path) != expected[name]["sha256"]:
            raise _changed(directory, name, "of the locked size but with other bytes")


def _find(source: Source, workspace: Path, *, local_only: bool) -> Path:
    match source:
        case LocalSource():
            return _inside(source.path, workspace)
        case HubSource():
            return _snapshot(source, local_only=local_only)
        case _:
            assert_never(source)


def _inside(path: str, workspace: Path) -> Path:
    """Return `workspace / path` when neither it nor a file in it leads out of the workspace."""
    root, directory = workspace.resolve(), workspace / path
    if not directory.resolve().is_relative_to(root):
        raise WeightsError(
            f"source path {path!r}: leads out of the workspace; expected a directory inside it; "
            "copy the files into the workspace"
        )
    if not directory.is_dir():
        raise WeightsError(
            f"source path {path!r}: is no directory; expected one with the pretrained files; "
            "check the path, or fetch the files (`git lfs pull` or `dvc pull` in a fresh clone)"
        )
    for file in directory.rglob("*"):
        if not file.resolve().is_relative_to(root):
            raise WeightsError(
                f"source path {path!r}: {file.relative_to(directory)} is a link that leads out "
                "of the workspace; expected a file; replace the link by the file"
            )
    return directory


def _snapshot(source: HubSource, *, local_only: bool) -> Path:
    """Return the first of the repository and its mirrors that can be had."""
    own = HubMirror(repository=source.repository, revision=source.revision)
    complaints: list[str] = []
    for place in (own, *source.mirrors):
        where = f"{place.repository} at {place.revision}"
        try:
            snapshot = snapshot_download(
                place.repository,
                revision=place.revision,
                allow_patterns=list(source.files),
                local_files_only=local_only,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            complaints.append(f"{where}: {_explain(error, place, source)}")
        else:
            return Path(snapshot)
    raise WeightsError("\n".join(complaints))


def _explain(error: Exception, place: HubMirror, source: HubSource) -> str:
    """Say in one line why a repository cannot be had, and what to do."""
    page = f"https://huggingface.co/{place.repository}"
    if isinstance(error, GatedRepoError):
        return (
            f"is gated ({source.license_note}); expected a login whose owner has accepted the "
            f"licence; accept it on {page}, then run `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return (
            "does not exist or is private; expected a public repository with that commit; "
            f"check {page} and add a mirror to prior.source.mirrors"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "not in the local Hugging Face cache and not to be reached; expected its "
            "safetensors; run the fetch stage where there is a network"
        )
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return (
        f"cannot be fetched ({reason}); expected a public or granted repository; run the "
        "fetch stage again: it goes on where it stopped"
    )


def _allowed_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        allowed = any(fnmatch.fnmatch(path.name, pattern) for pattern in ALLOWED_PATTERNS)
        if allowed and path.is_file():
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(directory: Path, name: str, found: str) -> WeightsError:
    return WeightsError(
        f"{directory.name}/{name}: is {found}; expected the file that was fetched and locked; "
        "restore it, or run the fetch stage again to accept it"
    )
