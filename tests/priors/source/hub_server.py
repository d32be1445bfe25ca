"""A Hugging Face hub on this machine: lists of files and their contents, with faults on demand.

It speaks what the hub's client asks: the tree of a commit, and each file under `resolve`.
Large files are Git LFS's: listed with their sha256, and sent by a second server, as the
hub's go through a CDN.
"""

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".model")


@dataclass
class Repository:
    """One commit of a repository, and what goes wrong with it."""

    revision: str
    files: dict[str, bytes]
    refused_with: int | None = None  # HTTP status for users who have not accepted the licence
    refusal: str = "GatedRepo"  # the hub's code for why
    error: str = ""  # what it says beside the code
    listed_sizes: dict[str, int] = field(default_factory=dict)  # instead of the true ones
    not_found: set[str] = field(default_factory=set)  # listed, yet not to be had
    damaged: set[str] = field(default_factory=set)  # sent with their first byte flipped
    cuts: dict[str, list[int]] = field(default_factory=dict)  # where the connection closes, once
    cut_always: dict[str, int] = field(default_factory=dict)  # where it closes every time
    stalls: dict[str, int] = field(default_factory=dict)  # where no more bytes come, and no end
    entries: list[object] = field(default_factory=list)  # listed beside the files
    changes: dict[str, dict[str, object]] = field(default_factory=dict)  # of a file's entry
    pages: dict[str, str] = field(default_factory=dict)  # by cursor, the address of the next page
    etags: dict[str, str] = field(default_factory=dict)  # instead of the hashes
    locations: dict[str, str] = field(default_factory=dict)  # instead of the CDN's address
    longer: dict[str, int] = field(default_factory=dict)  # bytes sent behind the file's own
    unsized: set[str] = field(default_factory=set)  # sent in chunks, without their number

    def tree(self) -> list[object]:
        """Return the commit's files and folders as the hub lists them."""
        folders = {path.rpartition("/")[0] for path in self.files if "/" in path}
        listed: list[object] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            for folder in sorted(folders)
        ]
        for path, content in self.files.items():
            size = self.listed_sizes.get(path, len(content))
            entry: dict[str, object] = {
                "type": "file",
                "oid": git_hash(content),
                "size": size,
                "path": path,
            }
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": sha256(content), "size": size, "pointerSize": 134}
            listed.append(entry | self.changes.get(path, {}))
        return listed + self.entries


@dataclass
class Request:
    """One request that was answered."""

    method: str
    path: str
    authorization: str | None
    first_byte: int
    num_bytes: int


class HubServer:
    """A hub and its CDN, each with its own address."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.released = threading.Event()  # ends what stalls
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.hub_url = self._stack.enter_context(_serve(_hub_handler(self)))
        self.cdn_url = self._stack.enter_context(_serve(_cdn_handler(self)))
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._stack.close()

    def bytes_of(self, path: str) -> int:
        """Return how many bytes of a file were sent so far, over all requests."""
        return sum(request.num_bytes for request in self.requests if request.path.endswith(path))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler, ABC):
    """What both servers share: an answer, and a note of it."""

    protocol_version = "HTTP/1.1"
    server_of: HubServer

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    @abstractmethod
    def answer(self) -> None:
        """Reply to the request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def reply(
        self,
        status: int,
        headers: dict[str, str],
        content: bytes = b"",
        *,
        first_byte: int = 0,
        end: int | None = None,
        stalls: bool = False,
        chunked: bool = False,
    ) -> None:
        """Send content[first_byte:], or close or stall before the byte `end` of the content."""
        body = content[first_byte:end] if self.command == "GET" else b""
        whole = len(content) - first_byte
        self.server_of.requests.append(
            Request(
                self.command,
                unquote(urlsplit(self.path).path),
                self.headers.get("Authorization"),
                first_byte,
                len(body),
            )
        )
        self.send_response(status)
        sized = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(whole)}
        for name, value in {**sized, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            whole = len(body)
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except ConnectionError:  # the client was killed
            self.close_connection = True
        if stalls:
            self.server_of.released.wait(60)
        if self.command == "GET" and len(body) < whole:
            self.close_connection = True


def _hub_handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class HubHandler(_Handler):
        server_of = server

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/"):
                name, _, revision = path.removeprefix("/api/models/").partition("/tree/")
                self._tree(name, revision)
            else:
                name, _, rest = path.removeprefix("/").partition("/resolve/")
                self._file(name, *rest.split("/", 1))

        def _repository(self, name: str, revision: str) -> Repository | None:
            repository = server.repositories.get(name)
            if repository is None:
                self.reply(404, {"X-Error-Code": "RepoNotFound"})
            elif repository.revision != revision:
                self.reply(404, {"X-Error-Code": "RevisionNotFound"})
                return None
            return repository

        def _tree(self, name: str, revision: str) -> None:
            repository = self._repository(name, revision)
            if repository is not None:  # the hub lists the files of gated models, too
                cursor = parse_qs(urlsplit(self.path).query).get("cursor", [""])[0]
                following = repository.pages.get(cursor)
                link = {"Link": f'<{following}>; rel="next"'} if following else {}
                content = json.dumps([] if cursor else repository.tree()).encode()
                self.reply(200, {"Content-Type": "application/json", **link}, content)

        def _file(self, name: str, revision: str, path: str) -> None:
            repository = self._repository(name, revision)
            if repository is None:
                return
            commit = {"X-Repo-Commit": revision}
            if repository.refused_with is not None:
                code = {"X-Error-Code": repository.refusal, "Content-Type": "text/plain"}
                self.reply(repository.refused_with, code, repository.error.encode())
            elif path not in repository.files or path in repository.not_found:
                self.reply(404, {"X-Error-Code": "EntryNotFound", **commit})
            elif path.endswith(LARGE):
                content = repository.files[path]
                linked = {
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-ETag": f'"{repository.etags.get(path, sha256(content))}"',
                    "Location": repository.locations.get(path, f"{server.cdn_url}/{name}/{path}"),
                }
                self.reply(302, {**commit, **linked})
            else:
                content = repository.files[path]
                etag = repository.etags.get(path, git_hash(content))
                content += bytes(repository.longer.get(path, 0))
                self.reply(200, {**commit, "ETag": f'"{etag}"'}, content)

    return HubHandler


def _cdn_handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class CdnHandler(_Handler):
        server_of = server

        def answer(self) -> None:
            owner, model, path = urlsplit(self.path).path.removeprefix("/").split("/", 2)
            repository = server.repositories[f"{owner}/{model}"]
            content = repository.files[path]
            if path in repository.damaged:
                content = bytes([content[0] ^ 1]) + content[1:]
            content += bytes(repository.longer.get(path, 0))
            first_byte = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if first_byte >= len(content):
                self.reply(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            last = len(content) - 1
            part = {"Content-Range": f"bytes {first_byte}-{last}/{len(content)}"}
            cuts = repository.cuts.get(path, [])
            stall = repository.stalls.get(path)
            end = stall or (cuts.pop(0) if cuts else repository.cut_always.get(path))
            self.reply(
                206 if first_byte else 200,
                part if first_byte else {},
                content,
                first_byte=first_byte,
                end=end,
                stalls=stall is not None,
                chunked=path in repository.unsized,
            )

    return CdnHandler
