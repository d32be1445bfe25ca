"""Lists of files that a hub could send to write, delete or hang on this machine."""

import json
from typing import Any

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.source import listing
from dreamfusion_kit.priors.source.listing import RemoteFile
from dreamfusion_kit.recipe.schema import HubMirrorSection

from .hub_server import HubServer, Repository

PLACE = HubMirrorSection(repository="someone/model", revision="0123456789" * 4)
OID, SHA256 = "a" * 40, "b" * 64


def entry(path: str = "unet/config.json", **changes: Any) -> dict[str, Any]:
    return {"type": "file", "path": path, "oid": OID, "size": 3} | changes


def large(**changes: Any) -> dict[str, Any]:
    return entry("m.safetensors", lfs={"oid": SHA256, "size": 3, "pointerSize": 134} | changes)


def parse(*entries: object) -> list[RemoteFile]:
    return listing.parse(json.dumps(entries).encode(), PLACE)


def test_what_the_hub_lists_is_read() -> None:
    folder = {"type": "directory", "oid": OID, "size": 0, "path": "unet"}
    small, big = parse(folder, entry(lastCommit=None), large() | {"xetHash": "c" * 64})
    assert (small.path, small.size, small.blob, small.sha256) == ("unet/config.json", 3, OID, None)
    assert (big.path, big.size, big.blob, big.sha256) == ("m.safetensors", 3, SHA256, SHA256)


def test_a_listing_reads_back() -> None:
    files = parse(entry(), large())
    assert listing.parse(listing.serialized(files), PLACE) == files


@pytest.mark.parametrize(
    "path",
    [
        "../evil.json",
        "unet/../../evil.json",
        "/etc/cron.d/evil.json",
        "unet//config.json",
        "./config.json",
        "unet/.",
        "..\\..\\evil.json",
        "C:evil.json",
        "C:/evil.json",
        "config.json:stream",
        "a\0b.json",
        "a\nparams.yaml: ok.json",
        "a\x1b[2J.json",
        "a\u202egnp.json",
        "a\ud800.json",
        "",
        "x" * 256 + ".json",
        "/".join(["folder"] * 200) + "/a.json",
    ],
)
def test_a_path_that_leads_out_or_forges_a_line_is_refused(path: str) -> None:
    with pytest.raises(WeightsError) as caught:
        parse(entry(), entry(path))
    message = str(caught.value)
    assert message.startswith(f"someone/model at {PLACE.revision}: the hub's list of files")
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("path", ["読み.json", "a b (1).json", ".gitattributes", "a..b/c.json"])
def test_other_paths_are_fine(path: str) -> None:
    assert [file.path for file in parse(entry(path))] == [path]


@pytest.mark.parametrize(
    "wrong",
    [
        entry(oid="/elsewhere/a/b.py"),
        entry(oid="../../" + "a" * 34),
        entry(oid="A" * 40),
        entry(oid="a" * 40 + "\n"),
        entry(oid=3),
        entry(size=-1),
        entry(size="3"),
        entry(size=True),
        entry(size=2**63),
        entry(path=None),
        large(oid="/elsewhere/a/b.py"),
        large(oid="a" * 40),
        large(oid=SHA256 + "\n"),
        large(size=-1),
        large(size=4),
        entry(lfs=[]),
        {"type": "commit"},
        {},
        "file",
        None,
    ],
)
def test_an_entry_that_is_not_one_is_refused(wrong: object) -> None:
    with pytest.raises(
        WeightsError, match=r"^someone/model at .*the hub's list of files"
    ) as caught:
        parse(entry("a.json"), wrong)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"3", b"\xff", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_list_is_refused(content: bytes) -> None:
    with pytest.raises(WeightsError, match="nothing of it is fetched"):
        listing.parse(content, PLACE)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("unet/config.json", "unet/Config.json"),
        ("unet/config.json", "Unet/other.json"),
        ("ﬁle.json", "file.json"),
        ("unet", "unet/config.json"),
        ("UNET", "unet/config.json"),
    ],
)
def test_files_that_would_be_one_are_refused(first: str, second: str) -> None:
    with pytest.raises(WeightsError, match="expected names that differ"):
        listing.check_distinct(parse(entry(first), entry(second)), PLACE)


def test_folders_that_several_files_share_are_fine() -> None:
    paths = ("a/b/c.json", "a/b/d.json", "a/e.json", "f.json")
    listing.check_distinct(parse(*map(entry, paths)), PLACE)


def test_a_file_that_is_listed_twice_is_refused(hub_server: HubServer) -> None:
    served = Repository(PLACE.revision, {"a.json": b"{}"}, entries=[entry("a.json")])
    hub_server.repositories[PLACE.repository] = served
    with pytest.raises(WeightsError, match=r"has 'a\.json' twice"):
        listing.remote_listing(PLACE)


def test_a_listing_without_end_ends(hub_server: HubServer) -> None:
    served = Repository(PLACE.revision, {"a.json": b"{}"})
    hub_server.repositories[PLACE.repository] = served
    following = f"/api/models/{PLACE.repository}/tree/{PLACE.revision}?cursor=x"
    served.pages = {"": following, "x": following}
    with pytest.raises(WeightsError, match="does not end"):
        listing.remote_listing(PLACE)
    assert len(hub_server.requests) == 2


def test_pages_are_put_together(hub_server: HubServer) -> None:
    served = Repository(PLACE.revision, {"a.json": b"{}"})
    hub_server.repositories[PLACE.repository] = served
    served.pages = {"": f"/api/models/{PLACE.repository}/tree/{PLACE.revision}?cursor=x"}
    assert [file.path for file in listing.remote_listing(PLACE)] == ["a.json"]
    assert len(hub_server.requests) == 2
