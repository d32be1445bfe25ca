"""Requests to a hub: which addresses they may reach, and how many bytes an answer may have.

The hub, its mirrors and whatever they redirect to are not trusted. A request goes to the
endpoint that the user chose or to an https address; the user's token goes only to that
endpoint. Received bytes are counted, and one more than announced ends the transfer.
"""

import ipaddress
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, tqdm

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

_MAX_REDIRECTS = 10
_MAX_ERROR_BYTES = 64 * 1024
_WAITS_S = (1, 1, 2, 4, 8)  # before each retry after an attempt that brought nothing
_TRANSIENT = (408, 429, 500, 502, 503, 504)  # HTTP statuses worth a retry
_ERROR_HEADERS = ("content-type", "x-error-code", "x-error-message", "x-request-id")

T = TypeVar("T")


class Page(NamedTuple):
    """One answer of the hub's API, and the address of the next, where there is one."""

    content: bytes
    next_url: str | None


def read_page(url: str, *, limit: int) -> Page:
    """Return an answer of at most `limit` bytes from the endpoint; WeightsError if it is longer."""

    def attempt() -> Page:
        with _response(url) as response:
            following = response.links.get("next", {}).get("url")
            content = _bounded(response, limit, url)
        if following is None:
            return Page(content, None)
        following = urljoin(url, following)
        if _origin(following) != _origin(constants.ENDPOINT):
            raise WeightsError(
                f"{printable(url)}: continues at {printable(following)}; expected every page from "
                f"{constants.ENDPOINT}; try another mirror"
            )
        return Page(content, following)

    return _retried(attempt, lambda: 0)


def append(url: str, part: Path, size: int) -> None:
    """Complete the file `part`, which holds the first bytes of what `url` serves, to `size`.

    A broken connection is resumed where it broke. Raises WeightsError if more bytes than `size`
    arrive, and then removes `part`; raises errors of HTTP and of the system if the bytes
    cannot be obtained.
    """

    def attempt() -> None:
        have = part.stat().st_size if part.exists() else 0
        if have < size or not part.exists():
            _append_once(url, part, have, size)

    _retried(attempt, lambda: part.stat().st_size if part.exists() else 0)


def _append_once(url: str, part: Path, have: int, size: int) -> None:
    with _response(url, first_byte=have) as response:
        resumed = response.status_code == 206
        if resumed and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
            raise OSError(f"answered a request for bytes from {have} with other bytes")
        have = have if resumed else 0  # a server may ignore the range and send everything
        announced = response.headers.get("content-length", "")
        plain = "content-encoding" not in response.headers
        too_long = plain and announced.isdigit() and have + int(announced) > size
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=_name(url), disable=None)
            as progress,
        ):  # fmt: skip
            if not too_long:
                for chunk in response.iter_bytes(constants.DOWNLOAD_CHUNK_SIZE):
                    have += len(chunk)
                    if have > size:
                        too_long = True
                        break
                    file.write(chunk)
                    progress.update(len(chunk))
    if too_long:
        part.unlink()
        raise WeightsError(
            f"{printable(url)}: sends more than the {size} bytes that the hub lists; expected that "
            "many; try another mirror"
        )
    if have < size:
        raise OSError(f"sent {have} of {size} bytes")


def _retried(attempt: Callable[[], T], progress: Callable[[], int]) -> T:
    """Repeat an attempt that failed in transfer; those that made progress are not counted."""
    failures = 0
    while True:
        before = progress()
        try:
            return attempt()
        except (httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in _TRANSIENT:
                raise
            failures = 1 if progress() > before else failures + 1
            if failures > len(_WAITS_S):
                raise
            time.sleep(_WAITS_S[failures - 1])


@contextmanager
def _response(url: str, *, first_byte: int = 0) -> Generator[httpx2.Response, None, None]:
    """Request a file from `first_byte` on, and follow redirects to permitted addresses."""
    start = url
    for _ in range(_MAX_REDIRECTS):
        _check_address(url, start)
        headers = _headers(url, first_byte)
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=False
        ) as response:
            if response.has_redirect_location:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status_code >= 400:
                _raise(response)
            yield response
            return
    raise WeightsError(
        f"{printable(start)}: redirects more than {_MAX_REDIRECTS} times; expected a file; try "
        "another mirror"
    )


def _headers(url: str, first_byte: int) -> dict[str, str]:
    is_endpoint = _origin(url) == _origin(constants.ENDPOINT)
    headers = build_hf_headers(token=None if is_endpoint else False)
    headers["Accept-Encoding"] = "identity"  # sizes and ranges are those of the file itself
    if first_byte:
        headers["Range"] = f"bytes={first_byte}-"
    return headers


def _check_address(url: str, start: str) -> None:
    """Raise WeightsError unless the address is the user's endpoint or uses https.

    Plain http on this machine is permitted if the endpoint itself is such an address.
    """
    if _origin(url) == _origin(constants.ENDPOINT) or urlsplit(url).scheme == "https":
        return
    if _is_http_loopback(url) and _is_http_loopback(constants.ENDPOINT):
        return
    raise WeightsError(
        f"{printable(start)}: redirects to {printable(url)}; expected an https address; try "
        "another mirror"
    )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # not a number, or not a port's
        return (parts.scheme, parts.hostname, -1)
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_http_loopback(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _bounded(response: httpx2.Response, limit: int, url: str) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > limit:
            raise WeightsError(
                f"{printable(url)}: answers with more than {limit} bytes; expected a list of "
                "files; try another mirror"
            )
    return bytes(content)


def _raise(response: httpx2.Response) -> None:
    """Raise the client's error for a refusal, reading no more of its text than a message needs."""
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MAX_ERROR_BYTES:
            break
    headers = {name: response.headers[name] for name in _ERROR_HEADERS if name in response.headers}
    hf_raise_for_status(
        httpx2.Response(
            response.status_code,
            headers=headers,
            content=bytes(content[:_MAX_ERROR_BYTES]),
            request=response.request,
        )
    )


def _name(url: str) -> str:
    return printable(urlsplit(url).path.rpartition("/")[2])[-40:]
