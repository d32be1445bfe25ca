"""A hub on this machine, for the hub's own client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from .hub_server import HubServer


@pytest.fixture
def hub_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_enabled: None
) -> Iterator[HubServer]:
    """Serve a hub without repositories; the hub's client talks to it, with a cache of its own."""
    with HubServer() as server:
        template = server.hub_url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.hub_url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        # Small enough that a file of some kilobytes reaches the disk in several writes.
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
        close_session()
