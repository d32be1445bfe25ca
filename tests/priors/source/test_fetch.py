"""Sources and locks: what is found, what is pinned, what is refused."""

import hashlib
import random
from pathlib import Path

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import fetch
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe.schema import HubMirrorSection, HubSourceSection, LocalSourceSection

from .hub_server import HubServer, Repository, sha256

REVISION = "0123456789" * 4
MIRROR = HubMirrorSection(repository="mirror/one", revision="1" * 40)
UNET = "unet/model.safetensors"
FILES = {"unet/config.json": b"{}", UNET: random.Random(0).randbytes(3000)}


def local(path: str) -> LocalSourceSection:
    # The schema refuses some of these paths; the code that opens files does not rely on it.
    return LocalSourceSection.model_construct(kind="local", path=path)


def hub(*mirrors: HubMirrorSection) -> HubSourceSection:
    return HubSourceSection(
        kind="hub",
        repository="someone/model",
        revision=REVISION,
        mirrors=mirrors,
        files=("*/*.json", UNET),
        license_note="a licence to accept",
    )


def lock_of(files: dict[str, bytes]) -> Lock:
    return {
        name: {"sha256": sha256(content), "size_bytes": len(content)}
        for name, content in files.items()
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    weights = tmp_path / "workspace" / "weights"
    (weights / "unet").mkdir(parents=True)
    (weights / "unet" / "config.json").write_text("{}")
    (weights / "unet" / "model.safetensors").write_bytes(b"12345678")
    (weights / "README.md").write_text("not locked")
    (weights / "unet" / "model.bin").write_bytes(b"a pickle, not locked")
    (tmp_path / "secret.json").write_text("{}")
    return tmp_path / "workspace"


@pytest.fixture
def own(hub_server: HubServer) -> Repository:
    """Serve the repository that the source names first."""
    hub_server.repositories["someone/model"] = Repository(REVISION, dict(FILES))
    return hub_server.repositories["someone/model"]


@pytest.fixture
def mirror(hub_server: HubServer) -> Repository:
    """Serve its mirror, with the same files."""
    hub_server.repositories["mirror/one"] = Repository(MIRROR.revision, dict(FILES))
    return hub_server.repositories["mirror/one"]


# ---- a directory of the workspace


def test_a_local_directory_is_found(workspace: Path) -> None:
    expected = fetch.fetch(local("weights"), workspace)
    assert fetch.fetch(local("weights"), workspace) == expected
    assert fetch.locate(local("weights"), workspace, expected) == workspace / "weights"


# ---- a repository of the hub


def test_a_repository_s_lock_holds_the_files_that_were_asked_for(
    own: Repository, workspace: Path
) -> None:
    own.files["unet/other.safetensors"] = b"not asked for"
    assert fetch.fetch(hub(), workspace) == lock_of(FILES)


def test_the_first_place_that_can_be_had_is_used(
    mirror: Repository, hub_server: HubServer, workspace: Path
) -> None:
    second = HubMirrorSection(repository="mirror/two", revision="2" * 40)
    hub_server.repositories["mirror/two"] = Repository(second.revision, {UNET: b"another"})
    assert fetch.fetch(hub(MIRROR, second), workspace) == lock_of(FILES)
    assert not any("mirror/two" in request.path for request in hub_server.requests)


@pytest.mark.parametrize("missing", ["unet/config.json", UNET])
def test_a_listed_file_that_is_not_found_leads_to_the_mirror(
    own: Repository, mirror: Repository, workspace: Path, missing: str
) -> None:
    own.not_found = {missing}
    assert fetch.fetch(hub(MIRROR), workspace) == lock_of(FILES)
    with pytest.raises(WeightsError, match=rf"cannot be fetched \(404.*{missing}"):
        fetch.fetch(hub(), workspace)


def test_another_revision_is_not_used(own: Repository, workspace: Path) -> None:
    own.revision = "f" * 40
    with pytest.raises(WeightsError, match=rf"^someone/model at {REVISION}: does not exist"):
        fetch.fetch(hub(), workspace)


@pytest.mark.parametrize(
    ("status", "token", "said"),
    [(401, None, "no token was sent"), (403, "hf_secret", "a token was sent")],
)
def test_every_refusal_is_reported_with_what_to_do(
    own: Repository,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    token: str | None,
    said: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    own.refused_with = status
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(hub(MIRROR), workspace)
    gated, gone = str(caught.value).splitlines()
    assert gated.startswith(f"someone/model at {REVISION}: is gated (a licence to accept; {said})")
    assert "https://huggingface.co/someone/model" in gated
    assert "HF_TOKEN" in gated
    assert gone.startswith(f"mirror/one at {MIRROR.revision}: does not exist or is private")
    assert "https://huggingface.co/mirror/one" in gone


def test_a_gated_model_is_had_from_its_mirror(
    own: Repository, mirror: Repository, workspace: Path
) -> None:
    own.refused_with = 403
    assert fetch.fetch(hub(MIRROR), workspace) == lock_of(FILES)


def test_a_token_without_the_right_to_read_is_told_apart(
    own: Repository, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    own.refused_with, own.refusal = 403, ""
    with pytest.raises(WeightsError, match=r"refuses access \(.*403.*; a token was sent\)"):
        fetch.fetch(hub(), workspace)


def test_a_full_disk_is_no_reason_for_a_mirror(
    own: Repository, mirror: Repository, hub_server: HubServer, workspace: Path
) -> None:
    own.listed_sizes[UNET] = 10**18
    with pytest.raises(WeightsError, match=rf"^someone/model at {REVISION}: .* still to fetch"):
        fetch.fetch(hub(MIRROR), workspace)
    assert not any("mirror/one" in request.path for request in hub_server.requests)


def test_a_hub_that_cannot_be_reached_is_named(
    hub_server: HubServer, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's attempts
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match=r"cannot be fetched \(.*refused.*\).*--offline"):
        fetch.fetch(hub(), workspace)


def test_a_wrong_hash_is_no_reason_for_a_mirror(
    own: Repository, mirror: Repository, workspace: Path
) -> None:
    own.damaged = {UNET}
    found = bytes([FILES[UNET][0] ^ 1]) + FILES[UNET][1:]
    for _ in range(2):  # the damaged file is not there for the second run
        with pytest.raises(WeightsError) as caught:
            fetch.fetch(hub(MIRROR), workspace)
        assert f"{UNET} has the sha256 {sha256(found)}; expected {sha256(FILES[UNET])}" in str(
            caught.value
        )
    own.damaged.clear()
    assert fetch.fetch(hub(MIRROR), workspace) == lock_of(FILES)


def test_offline_uses_the_cache_alone(
    own: Repository, hub_server: HubServer, workspace: Path
) -> None:
    fetch.fetch(hub(), workspace)
    before = len(hub_server.requests)
    assert fetch.fetch(hub(), workspace, offline=True) == lock_of(FILES)
    assert len(hub_server.requests) == before


def test_offline_names_what_is_missing_and_what_to_run(
    own: Repository, mirror: Repository, hub_server: HubServer, workspace: Path
) -> None:
    small = hub().model_copy(update={"files": ("*/*.json",)})
    fetch.fetch(small, workspace)
    before = len(hub_server.requests)
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(hub(MIRROR), workspace, offline=True)
    partial, absent = str(caught.value).splitlines()
    assert f"someone/model at {REVISION}: the cache lacks {UNET};" in partial
    assert "run the fetch without --offline" in partial
    assert f"mirror/one at {MIRROR.revision}: not in the cache {constants.HF_HUB_CACHE};" in absent
    assert len(hub_server.requests) == before


def test_the_client_s_offline_mode_counts(
    own: Repository, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.fetch(hub(), workspace)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch.fetch(hub(), workspace) == lock_of(FILES)


# ---- the directory that a lock was made from


def snapshots(tmp_path: Path, place: str, revision: str) -> Path:
    return tmp_path / "hub" / f"models--{place.replace('/', '--')}" / "snapshots" / revision


def test_the_lock_says_which_place_is_meant(
    own: Repository, mirror: Repository, workspace: Path, tmp_path: Path
) -> None:
    own.not_found = {UNET}  # half of the first place enters the cache
    expected = fetch.fetch(hub(MIRROR), workspace)
    first = snapshots(tmp_path, "someone/model", REVISION)
    assert (first / "unet" / "config.json").is_file()
    second = snapshots(tmp_path, "mirror/one", MIRROR.revision)
    assert fetch.locate(hub(MIRROR), workspace, expected) == second


def test_a_whole_place_with_other_bytes_is_passed_over(
    own: Repository, mirror: Repository, workspace: Path, tmp_path: Path
) -> None:
    own.files["unet/config.json"] = b"[]"
    fetch.fetch(hub(), workspace)
    second = snapshots(tmp_path, "mirror/one", MIRROR.revision)
    only_mirror = hub().model_copy(update=MIRROR.model_dump())
    expected = fetch.fetch(only_mirror, workspace)
    assert fetch.locate(hub(MIRROR), workspace, expected) == second
    first = snapshots(tmp_path, "someone/model", REVISION)
    of_first = lock_of(FILES | {"unet/config.json": b"[]"})
    assert fetch.locate(hub(MIRROR), workspace, of_first) == first


def test_files_that_are_nowhere_as_locked_are_named(
    own: Repository, workspace: Path, tmp_path: Path
) -> None:
    expected = fetch.fetch(hub(), workspace)
    (snapshots(tmp_path, "someone/model", REVISION) / UNET).unlink()
    with pytest.raises(WeightsError) as caught:
        fetch.locate(hub(MIRROR), workspace, expected)
    changed, absent = str(caught.value).splitlines()
    assert changed.startswith(f"someone/model at {REVISION}: {REVISION}/{UNET}: is missing")
    assert absent.startswith(f"mirror/one at {MIRROR.revision}: not in the cache")
    assert "run the fetch stage again" in absent


def test_what_others_fetched_of_the_same_commit_is_passed_over(
    own: Repository, workspace: Path, tmp_path: Path
) -> None:
    expected = fetch.fetch(hub(), workspace)
    here = snapshots(tmp_path, "someone/model", REVISION)
    for name in ("model_index.json", "safety_checker/model.safetensors"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(b"{}")
    assert fetch.locate(hub(), workspace, expected) == here
    assert fetch.fetch(hub(), workspace) == expected


def test_a_foreign_file_in_a_component_s_folder_is_named(
    own: Repository, workspace: Path, tmp_path: Path
) -> None:
    """A library that finds two files of weights may read the one that was not locked."""
    expected = fetch.fetch(hub(), workspace)
    foreign = "unet/model.fp16.safetensors"
    (snapshots(tmp_path, "someone/model", REVISION) / foreign).write_bytes(b"")
    message = f"{foreign}: lies in the hub's cache beside the source's files"
    with pytest.raises(WeightsError, match=message):
        fetch.locate(hub(), workspace, expected)
    with pytest.raises(WeightsError, match=message):
        fetch.fetch(hub(), workspace)


# ---- locks


def test_a_pickle_cannot_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="pickles are never fetched"):
        HubSourceSection.model_validate(hub().model_dump() | {"files": ("unet/model.bin",)})


def test_the_lock_holds_hash_and_size_of_what_may_be_read(workspace: Path) -> None:
    assert fetch.fetch(local("weights"), workspace) == {
        "unet/config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2},
        "unet/model.safetensors": {
            "sha256": hashlib.sha256(b"12345678").hexdigest(),
            "size_bytes": 8,
        },
    }


def test_an_unchanged_directory_is_accepted(workspace: Path) -> None:
    fetch.locate(local("weights"), workspace, fetch.fetch(local("weights"), workspace))


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "missing"), (b"123", "3 bytes, not 8"), (b"12345679", "with other bytes")],
)
def test_a_changed_file_is_named(workspace: Path, content: bytes | None, found: str) -> None:
    expected = fetch.fetch(local("weights"), workspace)
    file = workspace / "weights" / "unet" / "model.safetensors"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^weights/unet/model.safetensors: is .*{found}"):
        fetch.locate(local("weights"), workspace, expected)


def test_a_file_that_was_not_locked_is_named(workspace: Path) -> None:
    expected = fetch.fetch(local("weights"), workspace)
    (workspace / "weights" / "unet" / "other.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"unet/other.safetensors: is not in the lock file"):
        fetch.locate(local("weights"), workspace, expected)


def test_a_clip_s_folder_holds_its_own_files_alone(
    hub_server: HubServer, workspace: Path, tmp_path: Path
) -> None:
    """It is the repository's own folder, where someone else's tokenizer would be read."""
    files = {"config.json": b"{}", "model.safetensors": b"12345678"}
    hub_server.repositories["someone/model"] = Repository(REVISION, files)
    source = hub().model_copy(update={"files": ("config.json", "model.safetensors")})
    lock = fetch.fetch(source, workspace)
    here = snapshots(tmp_path, "someone/model", REVISION)
    assert fetch.locate(source, workspace, lock) == here
    (here / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer\.json: lies in the hub's cache beside"):
        fetch.locate(source, workspace, lock)


def test_a_hub_s_words_stay_in_one_line(own: Repository, workspace: Path) -> None:
    own.refused_with, own.refusal = 418, "Teapot"
    own.error = "params.yaml: ok 1\nparams.yaml: ok 2\x1b[2J" * 100
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(hub(), workspace)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
