"""Where requests go, and how many bytes an answer may have."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import transfer

from .hub_server import HubServer, Repository

REVISION = "0123456789" * 4
LARGE = "unet/model.safetensors"


@pytest.fixture
def repository(hub_server: HubServer) -> Repository:
    served = Repository(REVISION, {LARGE: bytes(range(250)) * 20, "config.json": b"{}"})
    hub_server.repositories["someone/model"] = served
    return served


def url(server: HubServer, name: str = LARGE) -> str:
    return f"{server.hub_url}/someone/model/resolve/{REVISION}/{name}"


@pytest.mark.parametrize("unsized", [False, True])
def test_a_file_arrives_whole(
    repository: Repository, hub_server: HubServer, tmp_path: Path, unsized: bool
) -> None:
    repository.unsized = {LARGE} if unsized else set()
    transfer.append(url(hub_server), tmp_path / "part", 5000)
    assert (tmp_path / "part").read_bytes() == repository.files[LARGE]


def test_an_empty_file_arrives_too(
    repository: Repository, hub_server: HubServer, tmp_path: Path
) -> None:
    repository.files["empty.txt"] = b""
    transfer.append(url(hub_server, "empty.txt"), tmp_path / "part", 0)
    assert (tmp_path / "part").read_bytes() == b""


@pytest.mark.parametrize("unsized", [False, True])
@pytest.mark.parametrize("name", [LARGE, "config.json"])
def test_one_byte_too_many_ends_the_transfer(
    repository: Repository, hub_server: HubServer, tmp_path: Path, name: str, unsized: bool
) -> None:
    repository.longer[name] = 1
    repository.unsized = {name} if unsized else set()
    size = len(repository.files[name])
    with pytest.raises(WeightsError, match=rf"sends more than the {size} bytes that the hub lists"):
        transfer.append(url(hub_server, name), tmp_path / "part", size)
    assert not (tmp_path / "part").exists()


def test_an_endless_file_is_not_written(
    repository: Repository, hub_server: HubServer, tmp_path: Path
) -> None:
    repository.longer[LARGE] = 10_000_000
    repository.unsized = {LARGE}
    with pytest.raises(WeightsError, match="sends more than"):
        transfer.append(url(hub_server), tmp_path / "part", 5000)
    assert not (tmp_path / "part").exists()


def test_too_few_bytes_are_an_error_and_stay(
    repository: Repository, hub_server: HubServer, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="sent 5000 of 6000 bytes"):
        transfer.append(url(hub_server), tmp_path / "part", 6000)
    assert (tmp_path / "part").stat().st_size == 5000


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://example.com/file",
        "file:///etc/passwd",
        "ftp://127.0.0.1/file",
        "http://user:password@example.com/",
        "gopher://127.0.0.1:1/",
        "http://127.0.0.1.example.com/",
        "http://2130706434x/",
    ],
)
def test_a_redirect_goes_to_https_alone(
    repository: Repository, hub_server: HubServer, tmp_path: Path, location: str
) -> None:
    repository.locations[LARGE] = location
    with pytest.raises(WeightsError, match=r"redirects to .*; expected an https address"):
        transfer.append(url(hub_server), tmp_path / "part", 5000)
    assert not (tmp_path / "part").exists()


def test_plain_http_on_this_machine_needs_an_endpoint_that_is_that(
    repository: Repository,
    hub_server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    with pytest.raises(WeightsError, match="expected an https address"):
        transfer.append(url(hub_server), tmp_path / "part", 5000)
    assert hub_server.requests == []


def test_redirects_end(repository: Repository, hub_server: HubServer, tmp_path: Path) -> None:
    repository.locations[LARGE] = url(hub_server)
    with pytest.raises(WeightsError, match="redirects more than 10 times"):
        transfer.append(url(hub_server), tmp_path / "part", 5000)
    assert len(hub_server.requests) == 10


def test_the_token_goes_to_the_endpoint_alone(
    repository: Repository,
    hub_server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    transfer.append(url(hub_server), tmp_path / "part", 5000)
    sent = [request.authorization for request in hub_server.requests]
    assert sent == ["Bearer hf_secret", None]


def test_a_long_answer_is_not_read_to_its_end(
    repository: Repository, hub_server: HubServer
) -> None:
    with pytest.raises(WeightsError, match="answers with more than 100 bytes"):
        transfer.read_page(url(hub_server), limit=100)


def test_the_next_page_is_the_endpoint_s(repository: Repository, hub_server: HubServer) -> None:
    listing = f"{hub_server.hub_url}/api/models/someone/model/tree/{REVISION}"
    repository.pages[""] = f"{hub_server.cdn_url}/steal"
    with pytest.raises(WeightsError, match=r"continues at .*/steal; expected every page from"):
        transfer.read_page(listing, limit=10**6)


def test_a_refusal_keeps_its_kind(repository: Repository, hub_server: HubServer) -> None:
    repository.refused_with = 403
    with pytest.raises(GatedRepoError):
        transfer.read_page(url(hub_server), limit=100)
