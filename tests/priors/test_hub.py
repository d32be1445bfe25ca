"""Downloads from a hub on this machine: what is fetched, resumed, refused and removed."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors import hub
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
