"""Sources and locks: what is found, what is pinned, what is refused."""

import hashlib
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from pydantic import ValidationError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.recipe.schema import HubMirror, HubSource, LocalSource

REVISION = "0123456789" * 4


def local(path: str) -> LocalSource:
    # The schema refuses some of these paths; the code that opens files does not rely on it.
    return LocalSource.model_construct(kind="local", path=path)


def hub(*mirrors: HubMirror) -> HubSource:
    return HubSource(
        kind="hub",
        repository="someone/model",
        revision=REVISION,
        mirrors=mirrors,
        files=("*/*.json", "unet/model.safetensors"),
        license_note="a licence to accept",
    )


def refusal(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    return kind("refused", response=MagicMock(status_code=status, headers={}))


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


def test_a_local_directory_is_found(workspace: Path) -> None:
    assert fetch.fetch(local("weights"), workspace) == workspace / "weights"
    assert fetch.locate(local("weights"), workspace) == workspace / "weights"


@pytest.mark.parametrize("path", ["..", "weights/../..", "/etc"])
def test_a_path_that_leads_out_is_refused(workspace: Path, path: str) -> None:
    with pytest.raises(WeightsError, match="leads out of the workspace"):
        fetch.locate(local(path), workspace)


def test_a_linked_directory_that_leads_out_is_refused(workspace: Path) -> None:
    (workspace / "link").symlink_to(workspace.parent, target_is_directory=True)
    with pytest.raises(WeightsError, match="leads out of the workspace"):
        fetch.locate(local("link"), workspace)


def test_a_linked_file_that_leads_out_is_named(workspace: Path) -> None:
    (workspace / "weights" / "unet" / "extra.json").symlink_to(workspace.parent / "secret.json")
    with pytest.raises(WeightsError, match=r"unet/extra.json is a link that leads out"):
        fetch.locate(local("weights"), workspace)


def test_a_missing_directory_says_how_to_get_it(workspace: Path) -> None:
    with pytest.raises(WeightsError, match=r"'absent': is no directory; .*dvc pull"):
        fetch.locate(local("absent"), workspace)


def test_the_hub_is_asked_for_the_pinned_safe_files(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **arguments: Any) -> str:
        calls.append({"repository": repository, **arguments})
        return str(workspace / "weights")

    monkeypatch.setattr(fetch, "snapshot_download", snapshot_download)
    source = hub()
    assert fetch.fetch(source, workspace) == workspace / "weights"
    fetch.locate(source, workspace)
    assert [call["local_files_only"] for call in calls] == [False, True]
    assert {call["revision"] for call in calls} == {REVISION}
    assert calls[0]["allow_patterns"] == ["*/*.json", "unet/model.safetensors"]


def test_an_unreachable_hub_says_so(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repository: str, **arguments: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(fetch, "snapshot_download", snapshot_download)
    source = hub()
    with pytest.raises(WeightsError, match=f"someone/model at {REVISION}: .*run the fetch stage"):
        fetch.locate(source, workspace)


def test_mirrors_are_tried_in_order(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot_download(repository: str, **arguments: Any) -> str:
        asked.append(f"{repository}@{arguments['revision'][0]}")
        if len(asked) < 3:
            raise refusal(RepositoryNotFoundError, 404)
        return str(workspace / "weights")

    monkeypatch.setattr(fetch, "snapshot_download", snapshot_download)
    mirrors = [HubMirror(repository=f"mirror/{n}", revision=str(n) * 40) for n in (1, 2, 3)]
    assert fetch.fetch(hub(*mirrors), workspace) == workspace / "weights"
    assert asked == ["someone/model@0", "mirror/1@1", "mirror/2@2"]


def test_every_refusal_is_reported_with_what_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repository: str, **arguments: Any) -> str:
        own = repository == "someone/model"
        raise refusal(GatedRepoError, 403) if own else refusal(RepositoryNotFoundError, 404)

    monkeypatch.setattr(fetch, "snapshot_download", snapshot_download)
    mirror = HubMirror(repository="mirror/gone", revision="1" * 40)
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(hub(mirror), workspace)
    gated, gone = str(caught.value).splitlines()
    assert "a licence to accept" in gated
    assert "https://huggingface.co/someone/model" in gated
    assert "HF_TOKEN" in gated
    assert gone.startswith("mirror/gone at 1111")
    assert "does not exist or is private" in gone


def test_a_pickle_cannot_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="pickles are never fetched"):
        HubSource.model_validate(hub().model_dump() | {"files": ("unet/model.bin",)})


def test_the_lock_holds_hash_and_size_of_what_may_be_read(workspace: Path) -> None:
    assert fetch.lock(workspace / "weights") == {
        "unet/config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2},
        "unet/model.safetensors": {
            "sha256": hashlib.sha256(b"12345678").hexdigest(),
            "size_bytes": 8,
        },
    }


def test_an_unchanged_directory_is_accepted(workspace: Path) -> None:
    fetch.verify(workspace / "weights", fetch.lock(workspace / "weights"))


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "missing"), (b"123", "3 bytes, not 8"), (b"12345679", "with other bytes")],
)
def test_a_changed_file_is_named(workspace: Path, content: bytes | None, found: str) -> None:
    expected = fetch.lock(workspace / "weights")
    file = workspace / "weights" / "unet" / "model.safetensors"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^weights/unet/model.safetensors: is .*{found}"):
        fetch.verify(workspace / "weights", expected)


def test_a_file_that_was_not_locked_is_named(workspace: Path) -> None:
    expected = fetch.lock(workspace / "weights")
    (workspace / "weights" / "unet" / "other.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"unet/other.safetensors: is not in the lock file"):
        fetch.verify(workspace / "weights", expected)
