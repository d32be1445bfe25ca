"""Downloads from a local hub: what is fetched, resumed, refused and removed."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import hub
from dreamfusion_kit.recipe.schema import HubMirrorSection

from .hub_server import HubServer, Repository, sha256

PLACE = HubMirrorSection(repository="someone/model", revision="0123456789" * 4)
UNET = "unet/model.safetensors"
FILES = {
    "model_index.json": b'{"unet": ["diffusers", "UNet2DConditionModel"]}',
    "unet/config.json": b'{"sample_size": 8}',
    UNET: random.Random(0).randbytes(9000),
    "tokenizer/spiece.model": random.Random(1).randbytes(500),
}
PATTERNS = ("*.json", UNET, "tokenizer/*.model")
UNASKED = {"unet/model.bin": b"a pickle", "text_encoder/model.safetensors": b"not asked for"}


@pytest.fixture
def repository(hub_server: HubServer) -> Repository:
    """Serve the tiny pipeline, and two files that nobody asks for."""
    served = Repository(PLACE.revision, {**FILES, **UNASKED})
    hub_server.repositories[PLACE.repository] = served
    return served


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(content) for name, content in files.items()}


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client try again at once; it pauses for a second each time."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_a_snapshot_holds_the_files_that_were_asked_for(repository: Repository) -> None:
    snapshot = hub.download(PLACE, PATTERNS)
    assert contents(snapshot.directory) == FILES
    assert snapshot.directory == hub.snapshot_directory(PLACE)
    large = {name: content for name, content in FILES.items() if not name.endswith(".json")}
    assert snapshot.sha256 == hashes(large)


def test_nothing_is_fetched_twice(repository: Repository, hub_server: HubServer) -> None:
    hub.download(PLACE, PATTERNS)
    before = len(hub_server.requests)
    hub.download(PLACE, PATTERNS)
    asked = [request.path for request in hub_server.requests[before:]]
    assert asked == [f"/api/models/someone/model/tree/{PLACE.revision}"]


def test_a_broken_connection_is_taken_up_where_it_broke(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    repository.cuts[UNET] = [5000, 7000]
    assert contents(hub.download(PLACE, PATTERNS).directory) == FILES
    sent = f"/{PLACE.repository}/{UNET}"
    gets = [request for request in hub_server.requests if request.method == "GET"]
    assert [get.first_byte for get in gets if get.path == sent] == [0, 5000, 7000]


def test_a_truncated_file_is_not_accepted_and_completed_later(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    repository.cut_always[UNET] = 5000
    with pytest.raises(Exception, match="closed connection"):
        hub.download(PLACE, PATTERNS)
    with pytest.raises(LocalEntryNotFoundError, match=UNET):
        hub.cached(PLACE, PATTERNS)
    sent = hub_server.bytes_of(UNET)
    repository.cut_always.clear()
    assert contents(hub.download(PLACE, PATTERNS).directory) == FILES
    assert hub_server.bytes_of(UNET) - sent == 4000


def test_a_file_whose_bytes_all_came_is_not_asked_for_again(
    repository: Repository, hub_server: HubServer
) -> None:
    # A process that is killed between the last byte and the file's renaming leaves this.
    blobs = hub.snapshot_directory(PLACE).parents[1] / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha256(FILES[UNET])}.incomplete").write_bytes(FILES[UNET])
    assert contents(hub.download(PLACE, PATTERNS).directory) == FILES
    assert hub_server.bytes_of(UNET) == 0


def test_more_bytes_than_the_file_has_are_dropped(repository: Repository) -> None:
    blobs = hub.snapshot_directory(PLACE).parents[1] / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha256(FILES[UNET])}.incomplete").write_bytes(bytes(9001))
    assert contents(hub.download(PLACE, PATTERNS).directory) == FILES


def test_a_full_disk_is_found_before_anything_is_fetched(
    repository: Repository, hub_server: HubServer
) -> None:
    repository.listed_sizes[UNET] = 10**18
    with pytest.raises(WeightsError) as caught:
        hub.download(PLACE, PATTERNS)
    message = str(caught.value)
    assert f"{PLACE.repository} at {PLACE.revision}: 1000000000.00 GB are still to" in message
    assert "GB free on the disk of " + constants.HF_HUB_CACHE in message
    assert [request.path for request in hub_server.requests] == [
        f"/api/models/someone/model/tree/{PLACE.revision}"
    ]


def test_what_is_there_needs_no_space(repository: Repository) -> None:
    snapshot = hub.download(PLACE, PATTERNS)
    repository.listed_sizes[UNET] = 10**18
    assert hub.download(PLACE, PATTERNS) == snapshot


def test_patterns_without_a_file_are_an_error(repository: Repository) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches vae/\*\.safetensors"):
        hub.download(PLACE, ["vae/*.safetensors"])


def test_the_token_stays_on_the_hub(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.download(PLACE, PATTERNS)
    sent = {request.path: request.authorization for request in hub_server.requests}
    assert sent[f"/{PLACE.repository}/resolve/{PLACE.revision}/{UNET}"] == "Bearer hf_secret"
    assert sent[f"/{PLACE.repository}/{UNET}"] is None  # the CDN's address


def test_the_cache_gives_what_was_downloaded(repository: Repository, hub_server: HubServer) -> None:
    downloaded = hub.download(PLACE, PATTERNS)
    before = len(hub_server.requests)
    assert hub.cached(PLACE, PATTERNS) == downloaded
    assert len(hub_server.requests) == before


def test_the_cache_says_what_it_lacks(repository: Repository) -> None:
    with pytest.raises(LocalEntryNotFoundError, match="not in the cache"):
        hub.cached(PLACE, PATTERNS)
    hub.download(PLACE, ["*.json"])
    with pytest.raises(LocalEntryNotFoundError, match=f"lacks {UNET}, tokenizer/spiece.model$"):
        hub.cached(PLACE, PATTERNS)


@pytest.mark.parametrize("offline", [False, True])
def test_a_damaged_file_is_named_and_removed(repository: Repository, offline: bool) -> None:
    hub.download(PLACE, PATTERNS)
    wrong = bytes(9000)
    (hub.snapshot_directory(PLACE) / UNET).resolve().write_bytes(wrong)
    snapshot = hub.cached(PLACE, PATTERNS) if offline else hub.download(PLACE, PATTERNS)
    with pytest.raises(WeightsError) as caught:
        hub.refuse_damaged(PLACE, snapshot, hashes(contents(snapshot.directory)))
    assert str(caught.value).startswith(
        f"someone/model at {PLACE.revision}: {UNET} has the sha256 {sha256(wrong)}; "
        f"expected {sha256(FILES[UNET])}"
    )
    with pytest.raises(LocalEntryNotFoundError, match=f"lacks {UNET}$"):
        hub.cached(PLACE, PATTERNS)
    assert contents(hub.download(PLACE, PATTERNS).directory) == FILES


def test_whole_files_are_left_alone(repository: Repository) -> None:
    snapshot = hub.download(PLACE, PATTERNS)
    hub.refuse_damaged(PLACE, snapshot, hashes(FILES))
    assert contents(snapshot.directory) == FILES


# ---- a hub that attacks


def everything_below(folder: Path) -> dict[str, str]:
    """Return every file and link below a folder, with what it holds or where it leads."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else sha256(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("large", [False, True])
def test_a_hash_that_is_a_path_makes_no_file(
    repository: Repository, tmp_path: Path, large: bool
) -> None:
    victim = tmp_path / "elsewhere" / "a" / "b.py"
    name = UNET if large else "unet/config.json"
    size = len(FILES[name])
    repository.changes[name] = (
        {"lfs": {"oid": str(victim), "size": size, "pointerSize": 134}}
        if large
        else {"oid": str(victim)}
    )
    with pytest.raises(WeightsError, match="the hub's list of files has"):
        hub.download(PLACE, PATTERNS)
    assert not victim.parent.exists()
    assert everything_below(tmp_path) == {}


@pytest.mark.parametrize("name", ["unet/config.json", UNET])
def test_an_etag_that_is_a_path_is_not_read(
    repository: Repository, tmp_path: Path, name: str
) -> None:
    """The client would name the content by it, and with a file there take that for it."""
    victim = tmp_path / "elsewhere" / "b.py"
    victim.parent.mkdir()
    victim.write_text("print()")
    repository.etags[name] = str(victim)
    snapshot = hub.download(PLACE, PATTERNS)
    assert contents(snapshot.directory) == FILES
    hub.refuse_damaged(PLACE, snapshot, hashes(FILES))
    assert victim.read_text() == "print()"
    assert list(victim.parent.iterdir()) == [victim]


def test_a_removal_stays_in_the_cache(repository: Repository, tmp_path: Path) -> None:
    """A link that leads out of the cache, as an earlier client may have left it."""
    victim = tmp_path / "b.py"
    victim.write_bytes(bytes(9000))
    snapshot = hub.download(PLACE, PATTERNS)
    link = snapshot.directory / UNET
    link.unlink()
    link.symlink_to(victim)
    with pytest.raises(WeightsError, match=f"{UNET} has the sha256"):
        hub.refuse_damaged(PLACE, snapshot, hashes(contents(snapshot.directory)))
    assert victim.read_bytes() == bytes(9000)
    assert not link.is_symlink()


def test_nothing_is_written_or_removed_behind_a_linked_folder(
    repository: Repository, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    directory = hub.snapshot_directory(PLACE)
    directory.mkdir(parents=True)
    (directory / "unet").symlink_to(outside, target_is_directory=True)
    with pytest.raises(WeightsError, match=r"would lie outside of the cache"):
        hub.download(PLACE, PATTERNS)
    assert list(outside.iterdir()) == []
    (outside / "model.safetensors").write_bytes(b"mine")
    snapshot = hub.Snapshot(directory, {UNET: "0" * 64}, {})
    with pytest.raises(WeightsError, match=f"{UNET} has the sha256"):
        hub.refuse_damaged(PLACE, snapshot, {UNET: sha256(b"mine")})
    assert (outside / "model.safetensors").read_bytes() == b"mine"


def test_a_damaged_small_file_is_named_and_removed(repository: Repository) -> None:
    """Its hash is Git's; the lock that is made of it would pin the damage."""
    hub.download(PLACE, PATTERNS)
    (hub.snapshot_directory(PLACE) / "unet/config.json").resolve().write_bytes(b"[]")
    snapshot = hub.download(PLACE, PATTERNS)
    with pytest.raises(WeightsError, match=r"unet/config\.json has the Git hash"):
        hub.refuse_damaged(PLACE, snapshot, hashes(contents(snapshot.directory)))
    snapshot = hub.download(PLACE, PATTERNS)
    hub.refuse_damaged(PLACE, snapshot, hashes(FILES))
    assert contents(snapshot.directory) == FILES


def test_what_another_program_fetched_is_found_offline(
    repository: Repository, hub_server: HubServer
) -> None:
    snapshot_download(PLACE.repository, revision=PLACE.revision, allow_patterns=list(PATTERNS))
    before = len(hub_server.requests)
    snapshot = hub.cached(PLACE, PATTERNS)
    assert contents(snapshot.directory) == FILES
    assert len(hub_server.requests) == before
    assert hub.download(PLACE, PATTERNS) == snapshot  # and not fetched again
    assert hub_server.bytes_of(UNET) == len(FILES[UNET])


def test_another_program_finds_what_was_fetched(
    repository: Repository, hub_server: HubServer
) -> None:
    hub.download(PLACE, PATTERNS)
    sent = hub_server.bytes_of(UNET)
    found = hf_hub_download(PLACE.repository, UNET, revision=PLACE.revision)
    assert Path(found).read_bytes() == FILES[UNET]
    assert hub_server.bytes_of(UNET) == sent


def test_a_content_in_a_store_of_several_caches_stays_there(
    repository: Repository, tmp_path: Path
) -> None:
    """`blobs/` may hold links to it, by names that are not the contents' hashes."""
    snapshot = hub.download(PLACE, PATTERNS)
    blob = hub.snapshot_directory(PLACE).parents[1] / "blobs" / sha256(FILES[UNET])
    shared = tmp_path / ("c" * 64)
    blob.rename(shared)
    blob.symlink_to(shared)
    assert hub.cached(PLACE, PATTERNS) == snapshot
    shared.write_bytes(bytes(9000))
    with pytest.raises(WeightsError, match=f"{UNET} has the sha256"):
        hub.refuse_damaged(PLACE, snapshot, hashes(contents(snapshot.directory)))
    assert shared.is_file()
    assert not blob.is_symlink()
