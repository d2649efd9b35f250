"""Fetching an image from an address that somebody else named: the user's input images and a service's results."""

import ipaddress
import socket
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import MIB, Service
from models.backends.reply import Explanation, Reply
from models.clock import Clock, Deadline

MAX_DOWNLOAD_BYTES = 64 * MIB
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


def download(
    url: str,
    *,
    attempt: str,
    clock: Clock,
    deadline: Deadline,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    allow_private: bool,
) -> Reply:
    """GET a URL that somebody else named, without any credentials, following at most five redirects.

    `allow_private` permits LAN addresses: a user's own input images and results of the user's own servers; a
    hosted service has no business naming them. Raises BadRequest for a forbidden address, else as `Service.request`.
    """
    for _ in range(MAX_REDIRECTS):
        _check_address(url, attempt, allow_private=allow_private)
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        service = Service(
            name="the file server",
            base_url=f"{parts.scheme}://{host}",
            clock=clock,
            settings="the image's URL",
            explain=_explain,
        )
        # A signed query string must stay byte for byte, so it travels as part of the path.
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        reply = service.request(
            "GET", path, attempt=attempt, deadline=deadline, max_bytes=max_bytes, read_timeout=60.0, accept=_REDIRECTS
        )
        if reply.ok:
            return reply
        url = _target(url, reply.headers.get("location", ""))
    raise BadRequest(f"{attempt} failed", "the address redirects too often", "Use the image's final address")


def download_result(
    url: str, *, attempt: str, clock: Clock, deadline: Deadline, allow_private: bool, next_step: str
) -> bytes:
    """The bytes behind an address that a service named for its result.

    Raises ServerUnavailable with `next_step` for an address that is forbidden or answers with a refusal: the user's
    request was fine. Else as `download`.
    """
    try:
        return download(url, attempt=attempt, clock=clock, deadline=deadline, allow_private=allow_private).body
    except BadRequest as error:
        raise ServerUnavailable(error.attempted, error.said, next_step, transient=error.transient) from None


def _explain(reply: Reply) -> Explanation:
    """A refusal by a file server is about the address, not about anybody's key; its body is a page for browsers."""
    error = BadRequest if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerUnavailable
    return Explanation(
        error=error,
        said=f"the address answered HTTP {reply.status}",
        next_step="Links to files expire: use a fresh one, or send the image itself",
    )


def _target(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # the check of the next round refuses it


def _check_address(url: str, attempt: str, *, allow_private: bool) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequest(
            f"{attempt} failed", "the address is not an http(s) URL", "Give a URL that starts with https://"
        )
    if not allow_private and not is_public(parts.hostname):
        raise BadRequest(
            f"{attempt} failed", f"{parts.hostname} is not a public address", "Only public addresses are fetched here"
        )


def is_public(hostname: str) -> bool:
    try:
        found = socket.getaddrinfo(hostname, None)
    except OSError:
        return True  # the request itself will say that the name does not resolve
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)
