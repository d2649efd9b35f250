"""Images in replies and at URLs: replies are parsed without I/O, base64 is decoded, URLs are fetched.

`parsed` reads OpenAI's `data` list, chat completions with images, lists of URLs, data URLs, a bare image, a ZIP of
several, and errors in place of single images. `ImageFetcher` makes the images of one reply; `image_bytes` is for
services with an image field of their own. `download` fetches any URL, the user's input images included.
"""

import io
import re
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import JsonValue, RootModel

from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import MAX_REPLY_BYTES, MIB, REPEATED, Retries, Service, join_url
from models.backends.public_adapter import is_public_ip
from models.backends.reply import Explanation, Reply, parse
from models.clock import Clock, Deadline
from models.entities import POSTER, GeneratedImage, SideFile, from_base64
from models.images.sniff import NotAnImageError, describe, is_video, sniff

_ZIP = b"PK\x03\x04"
_MOST_FILES = 16
_MOST_BYTES = 64 * MIB
_DEPTH = 8  # levels of a reply that are searched for images
_CONTAINERS = (
    *("data", "images", "image", "results", "result", "output", "outputs", "urls", "image_urls"),
    *("choices", "message", "result_url"),
)
_LOG = "Check the server's log before generating it again"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image in a reply: its bytes or base64, or the URL to fetch it from."""

    source: bytes | str = b""
    address: str = ""
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """The images of a 2xx reply in order, its seed and `usage` if reported, and the errors of single images."""

    images: tuple[FoundImage, ...] = ()
    seed: int | None = None
    faults: tuple[object, ...] = ()
    usage: object = None


class _JsonBody(RootModel[dict[str, JsonValue] | list[JsonValue]]):
    """The JSON of a reply that is not an image."""


def parsed(reply: Reply, attempt: str) -> ParsedReply:
    """Raises ServerUnavailable for a broken ZIP and for a body that is neither an image nor JSON."""
    if reply.body.startswith(_ZIP):
        return ParsedReply(tuple(FoundImage(data) for data in unzipped(reply.body, attempt)))
    if _is_image(reply.body):
        return ParsedReply((FoundImage(reply.body),))
    body = reply.json()
    if not isinstance(body, (dict, list)):
        body = parse(reply, _JsonBody, attempt=attempt).root
    seed, usage = (body.get("seed"), body.get("usage")) if isinstance(body, dict) else (None, None)
    known = seed if isinstance(seed, int) else None
    return ParsedReply(tuple(_images_in(body)), known, tuple(_faults_in(body)), usage)


def _is_image(data: bytes) -> bool:
    try:
        sniff(data)
    except NotAnImageError:
        return False
    return True


def _images_in(value: object, depth: int = _DEPTH) -> Iterator[FoundImage]:
    """The images anywhere below `value`; only keys that are known to hold images are followed."""
    match value:
        case _ if not depth:
            return
        case str() if value.startswith(("http://", "https://")):
            yield FoundImage(address=value)
        case str() if value.startswith("data:image/"):
            yield FoundImage(value)
        case list():
            for entry in value:
                yield from _images_in(entry, depth - 1)
        case dict():
            yield from _images_of(value, depth)


def _images_of(entry: dict[str, object], depth: int) -> Iterator[FoundImage]:
    """The image that an object holds, else those of its containers. Other keys are ignored (SGLang sends a path on
    its own disk); unused ones hold null or an empty text."""
    words = entry.get("revised_prompt")
    revised = words if isinstance(words, str) and words else None
    match entry:
        case {"b64_json": str(encoded)} if encoded:
            yield FoundImage(encoded, revised_prompt=revised)
        case {"url": str(url)} if url.startswith("data:"):
            yield FoundImage(url, revised_prompt=revised)
        case {"url": str(url)} if url:
            yield FoundImage(address=url, revised_prompt=revised)
        case {"url": list(several)} | {"image_url": {"url": str() as several}} | {"image_url": str() as several}:
            yield from _images_in(several, depth - 1)
        case _:
            found: list[FoundImage] = []
            for images in (list(_images_in(entry.get(key), depth - 1)) for key in _CONTAINERS):
                found += images if images != found else []  # SiliconFlow lists its images under two keys
            yield from found or _images_written(entry.get("content"), depth)


# Up to the end of the link: what is longer than a URL there is a data URL, whose base64 has no such character.
_MARKDOWN_IMAGE = re.compile(r"!\[[^\]\n]*\]\(<?((?:https?://|data:image/)[^\s)>]+)")


def _images_written(content: object, depth: int) -> Iterator[FoundImage]:
    """The images of a chat message: its parts, or the Markdown images in its text."""
    urls = _MARKDOWN_IMAGE.findall(content) if isinstance(content, str) else content
    yield from _images_in(urls, depth - 1) if isinstance(urls, list) else ()


def _faults_in(body: object) -> Iterator[object]:
    match body:
        case {"data": list(items)} | {"images": list(items)}:
            for item in items:
                match item:
                    case {"error": fault} if fault:
                        yield fault
                    case {"message": str(), "code": _} if not any(_images_in(item)):
                        yield item


def unzipped(body: bytes, attempt: str) -> list[bytes]:
    """The files of a ZIP, at most 16 of 64 MiB each: a small archive can hold very large files."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MOST_FILES or any(entry.file_size > _MOST_BYTES for entry in entries):
                raise ServerUnavailable(f"{attempt} failed", "the ZIP is too large", "Ask for fewer images")
            # A bound once more: what the archive says about sizes may be false.
            return [archive.open(entry).read(_MOST_BYTES) for entry in entries]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise ServerUnavailable(f"{attempt} failed", "the images came in a broken ZIP", _LOG) from None


def image_bytes(source: bytes | str, *, attempt: str, next_step: str = _LOG) -> bytes:
    """An image from a service, as bytes or as base64 (with or without a data URL prefix).

    Raises ServerUnavailable for anything else; whether the image is complete is checked later, for all services.
    """
    try:
        data = from_base64(source) if isinstance(source, str) else source
        sniff(data)
    except ValueError as error:
        reason = error if isinstance(error, NotAnImageError) else "broken base64"
        raise ServerUnavailable(f"{attempt} failed", f"the service sent a broken image: {reason}", next_step) from None
    return data


def video_in(reply: Reply, *, attempt: str) -> GeneratedImage:
    """The video that was fetched. Raises ServerUnavailable for what is none."""
    if not is_video(reply.body):
        what = "the file is an image" if _is_image(reply.body) else describe(reply.body)
        raise ServerUnavailable(f"{attempt} failed", f"no video came: {what}", _LOG)
    return GeneratedImage(reply.body, sent_as=reply.headers.get("content-type", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFetcher:
    """Makes the images and videos of one reply of `service`; `kept` says how long its URLs work, if that is known.

    `redirected`: the service's own URLs may lead to a file server, which gets no credentials.
    """

    service: Service
    attempt: str
    deadline: Deadline
    kept: str = ""
    retries: Retries = REPEATED
    what: str = "image"
    redirected: bool = False

    def image(self, found: FoundImage, seed: int | None) -> GeneratedImage:
        """Raises ServerUnavailable for a broken or missing image, ConnectionFailed if it cannot be fetched."""
        source, url = self._source(found)
        data = image_bytes(source, attempt=self.attempt)
        return GeneratedImage(data, url=url, seed=seed, revised_prompt=found.revised_prompt or None)

    def video(self, address: str, seed: int | None, poster: bytes | None = None) -> GeneratedImage:
        """`poster`: a frame of it. Raises ServerUnavailable for what is no video, ConnectionFailed if it cannot be fetched."""
        reply, url = replace(self, what="video").fetched(address)
        video = video_in(reply, attempt=self.attempt)
        return replace(video, url=url, seed=seed, side_files=(SideFile(POSTER, poster),) if poster else ())

    def _source(self, found: FoundImage) -> tuple[bytes | str, str | None]:
        """The bytes or base64 of an image, and its URL if that is public."""
        if not found.address:
            return found.source, None
        reply, url = self.fetched(found.address)
        return reply.body, url

    def fetched(self, address: str) -> tuple[Reply, str | None]:
        """The file at an address in the reply, and its URL, after redirects, if that is public."""
        url = resolved(self.service.base_url, address)
        home, there = urlsplit(self.service.base_url), urlsplit(url)
        if (there.scheme, there.netloc) == (home.scheme, home.netloc):
            reply = self._from_origin(url)
            if reply.ok:
                return reply, None
            url = _target(url, reply.headers.get("location", ""))
        at_home = _parts(url).hostname == home.hostname
        reply = download_result(
            url,
            attempt=self._fetching,
            clock=self.service.clock,
            deadline=self.deadline,
            max_bytes=_MOST_BYTES if self.what == "image" else MAX_REPLY_BYTES,
            allow_private=at_home,
            next_step=self._kept_there,
            retries=self.retries,
        )
        return reply, None if at_home else reply.url

    def _from_origin(self, url: str) -> Reply:
        own, path = at_origin(self.service, url)
        what, end, accept = self._fetching, self.deadline, _REDIRECTS if self.redirected else ()
        with _made_already(self._kept_there):
            return own.request(
                "GET", path, attempt=what, deadline=end, retries=self.retries, accept=accept, brings_result=True
            )

    @property
    def _fetching(self) -> str:
        return f"{self.attempt}: fetching the {self.what}"

    @property
    def _kept_there(self) -> str:
        kept = f" (it keeps {self.what}s for {self.kept})" if self.kept else ""
        return f"The {self.what} was made: look for it at the service{kept} before generating it again"


def at_origin(service: Service, url: str) -> tuple[Service, str]:
    """`service` at the origin of `url`, and the path that requests it there."""
    there = urlsplit(url)
    host = replace(service, base_url=f"{there.scheme}://{there.netloc.rpartition('@')[2]}")
    # A signed query string must not change, so it is sent as part of the path.
    return host, f"{there.path or '/'}?{there.query}" if there.query else there.path or "/"


def at_own_host(service: Service, url: str, hosts: str, attempt: str) -> tuple[Service, str]:
    """`at_origin` for an address that a reply named and that gets the login: over https at a host that matches the regular
    expression `hosts`, or at the service's own address. Raises ServerUnavailable for any other."""
    there = urlsplit(url)
    own = there.scheme == "https" and re.fullmatch(hosts, there.hostname or "")
    if not own and there.netloc != urlsplit(service.base_url).netloc:
        raise ServerUnavailable(f"{attempt} failed", f"it named the foreign address {there.hostname}")
    return at_origin(service, url)


def resolved(base_url: str, address: str) -> str:
    """The absolute URL of an image. A path is taken as below the base: a server does not include its proxy's prefix."""
    prefix = urlsplit(base_url).path
    below = address.startswith("/") and not address.startswith(("//", f"{prefix}/"))
    return join_url(base_url, address) if prefix and below else urljoin(f"{base_url}/", address)


MAX_REDIRECTS = 4
_REDIRECTS = (301, 302, 303, 307, 308)


def download(
    url: str,
    *,
    attempt: str,
    clock: Clock,
    deadline: Deadline,
    max_bytes: int = _MOST_BYTES,
    allow_private: bool,
    redirects: int = MAX_REDIRECTS,
    retries: Retries = REPEATED,
    brings_result: bool = False,
) -> Reply:
    """GET a URL from a user or a service, without credentials, following at most `redirects`.

    `allow_private` permits LAN addresses. Raises BadRequest for a forbidden address, else as `Service.request`.
    """
    server = Service(
        name="the file server",
        base_url="",
        clock=clock,
        settings="the image's URL",
        explain=_explain,
        public_only=not allow_private,
    )
    for _ in range(redirects + 1):
        _check_address(url, attempt, allow_private=allow_private)
        host, path = at_origin(server, url)
        reply = host.request(
            "GET",
            path,
            attempt=attempt,
            deadline=deadline,
            max_bytes=max_bytes,
            read_timeout=60.0,
            retries=retries,
            accept=_REDIRECTS,
            brings_result=brings_result,
        )
        if reply.ok:
            return replace(reply, url=url)
        url = _target(url, reply.headers.get("location", ""))
    said = "the address redirects too often" if redirects else "the address redirects, which is not followed here"
    raise BadRequest(f"{attempt} failed", said, "Use the image's final address")


def download_result(
    url: str,
    *,
    attempt: str,
    clock: Clock,
    deadline: Deadline,
    allow_private: bool,
    next_step: str,
    retries: Retries = REPEATED,
    max_bytes: int = _MOST_BYTES,
) -> Reply:
    """As `download`, but a URL that is forbidden or refused raises ServerUnavailable: the user's request was fine."""
    with _made_already(next_step):
        return download(
            url,
            attempt=attempt,
            clock=clock,
            deadline=deadline,
            max_bytes=max_bytes,
            allow_private=allow_private,
            retries=retries,
            brings_result=True,
        )


@contextmanager
def _made_already(next_step: str) -> Iterator[None]:
    """The image exists whatever the error: the user's request was fine, and no other model shall repeat it."""
    try:
        yield
    except BadRequest as error:
        raise ServerUnavailable(error.attempted, error.said, next_step, transient=error.transient) from None
    except ImageError as error:
        error.undone = False
        raise


def _explain(reply: Reply) -> Explanation:
    """A refusal by a file server concerns the URL, not a key; its body is a page for browsers."""
    error = BadRequest if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerUnavailable
    said = f"the address replied with HTTP {reply.status}"
    next_step = "Links to files expire: use a fresh one, or send the image itself"
    return Explanation(error=error, said=said, next_step=next_step)


def _target(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # refused by the check of the next round


def _parts(url: str) -> SplitResult:
    """Without anything in it for what is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _check_address(url: str, attempt: str, *, allow_private: bool) -> None:
    failed, parts = f"{attempt} failed", _parts(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequest(failed, "the address is not an http(s) URL", "Give a URL that starts with https://")
    if not allow_private and not is_public(parts.hostname):
        said = f"{parts.hostname} is not a public address"
        raise BadRequest(failed, said, "Only public addresses are fetched here")


def is_public(hostname: str) -> bool:
    try:
        found = socket.getaddrinfo(hostname, None)
    except OSError:
        return True  # the request reports that the name does not resolve
    return all(is_public_ip(str(entry[4][0])) for entry in found)
