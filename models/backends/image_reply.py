"""From an answer to images: what the answer holds is read without I/O, then base64 is decoded and addresses fetched.

For every service that answers in JSON: OpenAI's `data` list, chat completions with images, lists of addresses, data
URLs, a bare image, a ZIP of several, or an error in place of one item.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from pydantic import JsonValue, RootModel

from models.backends.download import download_result
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import MIB, Service, join_url
from models.backends.reply import Reply, parse
from models.base64_text import from_base64
from models.clock import Deadline
from models.entities import GeneratedImage
from models.images.sniff import NotAnImageError, sniff

_ZIP = b"PK\x03\x04"
_MOST_FILES = 16
_MOST_BYTES = 64 * MIB
_DEPTH = 8  # of an answer in which images are looked for
_CONTAINERS = (
    "data",
    "images",
    "image",
    "results",
    "result",
    "output",
    "outputs",
    "urls",
    "image_urls",
    "choices",
    "message",
    "result_url",
)
_LOG = "Look at the server's own log before generating it again"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of an answer: its bytes, their base64, or the address to fetch them from."""

    data: bytes = b""
    encoded: str = ""
    address: str = ""
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """What a 2xx answer holds: its images in order, the seed where it is reported (SiliconFlow does), and the errors
    of single images as the server sent them."""

    images: tuple[FoundImage, ...] = ()
    seed: int | None = None
    faults: tuple[object, ...] = ()


class _JsonAnswer(RootModel[dict[str, JsonValue] | list[JsonValue]]):
    """What an answer must be that is no image."""


def parsed(reply: Reply, attempt: str) -> ParsedReply:
    """Raises ServerUnavailable for a broken ZIP and for a body that is neither an image nor JSON."""
    if reply.body.startswith(_ZIP):
        return ParsedReply(tuple(FoundImage(data) for data in unzipped(reply.body, attempt)))
    if _is_image(reply.body):
        return ParsedReply((FoundImage(reply.body),))
    body = reply.json()
    if not isinstance(body, (dict, list)):
        body = parse(reply, _JsonAnswer, attempt=attempt).root
    seed = body.get("seed") if isinstance(body, dict) else None
    return ParsedReply(tuple(_images_in(body)), seed if isinstance(seed, int) else None, tuple(_faults_in(body)))


def _is_image(data: bytes) -> bool:
    try:
        sniff(data)
    except NotAnImageError:
        return False
    return True


def _images_in(value: object, depth: int = _DEPTH) -> Iterator[FoundImage]:
    """The images below `value`, wherever servers put them; keys that are not known to hold images are not entered."""
    match value:
        case _ if not depth:
            return
        case str() if value.startswith(("http://", "https://")):
            yield FoundImage(address=value)
        case str() if value.startswith("data:image/"):
            yield FoundImage(encoded=value)
        case list():
            for entry in value:
                yield from _images_in(entry, depth - 1)
        case dict():
            yield from _images_of(value, depth)


def _images_of(entry: dict[str, object], depth: int) -> Iterator[FoundImage]:
    """The image that an object is, else those of its containers. Servers send further keys (SGLang a path on its own
    disk), which are not read; unused ones hold null or an empty text."""
    words = entry.get("revised_prompt")
    revised = words if isinstance(words, str) and words else None
    match entry:
        case {"b64_json": str(encoded)} if encoded:
            yield FoundImage(encoded=encoded, revised_prompt=revised)
        case {"url": str(url)} if url:
            data_url = url.startswith("data:")
            yield FoundImage(encoded=url if data_url else "", address="" if data_url else url, revised_prompt=revised)
        case {"url": list(several)} | {"image_url": {"url": str() as several}} | {"image_url": str() as several}:
            yield from _images_in(several, depth - 1)
        case _:
            for key in _CONTAINERS:
                yield from _images_in(entry.get(key), depth - 1)


def _faults_in(body: object) -> Iterator[object]:
    """The errors that stand in place of images."""
    match body:
        case {"data": list(items)} | {"images": list(items)}:
            for item in items:
                match item:
                    case {"error": fault} if fault:
                        yield fault
                    case {"message": str(), "code": _} if not any(_images_in(item)):
                        yield item


def decoded(text: str, attempt: str) -> bytes:
    """Base64 with or without a `data:…,` prefix and line breaks. Raises ServerUnavailable for anything else."""
    try:
        return from_base64(text)
    except ValueError:
        raise ServerUnavailable(f"{attempt} failed", "the image came as broken base64", _LOG) from None


def unzipped(body: bytes, attempt: str) -> list[bytes]:
    """The files of a ZIP, at most 16 of 64 MiB each: a small archive can hold a very large one."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MOST_FILES or any(entry.file_size > _MOST_BYTES for entry in entries):
                raise ServerUnavailable(f"{attempt} failed", "the ZIP is too large", "Ask for fewer images")
            # The sizes are claims of the archive; reading one byte more than the cap finds a false one.
            files = [_read(archive, entry) for entry in entries]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise ServerUnavailable(f"{attempt} failed", "the images came in a broken ZIP", _LOG) from None
    if any(len(data) > _MOST_BYTES for data in files):
        raise ServerUnavailable(f"{attempt} failed", "the ZIP is too large", "Ask for fewer images")
    return files


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(_MOST_BYTES + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFetcher:
    """Makes the images of one answer of `service`; `kept` says in words how long its addresses are good, if at all."""

    service: Service
    attempt: str
    deadline: Deadline
    kept: str = ""

    def image(self, found: FoundImage, seed: int | None) -> GeneratedImage:
        """Raises ServerUnavailable for an image that is none or cannot be had, ConnectionFailed while fetching it."""
        data, url = self._bytes(found)
        try:
            sniff(data)
        except NotAnImageError as error:
            raise ServerUnavailable(f"{self.attempt} failed", str(error), _LOG) from None
        return GeneratedImage(data, url=url, seed=seed, revised_prompt=found.revised_prompt or None)

    def _bytes(self, found: FoundImage) -> tuple[bytes, str | None]:
        """The file, and the address where the public can open it."""
        if found.encoded:
            return decoded(found.encoded, self.attempt), None
        if not found.address:
            return found.data, None
        url = resolved(self.service.base_url, found.address)
        home, there = urlsplit(self.service.base_url), urlsplit(url)
        if (there.scheme, there.netloc) == (home.scheme, home.netloc):
            return self._from_origin(url), None
        at_home = there.hostname == home.hostname
        return self._from_elsewhere(url, allow_private=at_home), None if at_home else url

    def _from_elsewhere(self, url: str, *, allow_private: bool) -> bytes:
        """An image that is asked for without the login; private addresses only where the user's own base URL is."""
        return download_result(
            url,
            attempt=self._fetching,
            clock=self.service.clock,
            deadline=self.deadline,
            allow_private=allow_private,
            next_step=self._kept_there,
        )

    def _from_origin(self, url: str) -> bytes:
        """An image of the server's own origin, which is asked with the login."""
        own, path = at_origin(self.service, url)
        try:
            return own.request("GET", path, attempt=self._fetching, deadline=self.deadline).body
        except BadRequest as error:  # the request was fine: the server does not have what it named
            raise ServerUnavailable(error.attempted, error.said, self._kept_there, transient=error.transient) from None

    @property
    def _fetching(self) -> str:
        return f"{self.attempt}: fetching the image"

    @property
    def _kept_there(self) -> str:
        kept = f" (it keeps images for {self.kept})" if self.kept else ""
        return f"The image was made: look for it at the service{kept} before generating it again"


def at_origin(service: Service, url: str) -> tuple[Service, str]:
    """The service and the path by which `url`, an address of the service's own origin, is asked with the login."""
    there = urlsplit(url)
    own = replace(service, base_url=f"{there.scheme}://{there.netloc}")
    return own, f"{there.path}?{there.query}" if there.query else there.path


def resolved(base_url: str, address: str) -> str:
    """The absolute address of an image. A path is below the base: a server does not know its proxy's prefix."""
    prefix = urlsplit(base_url).path
    below = address.startswith("/") and not address.startswith(("//", f"{prefix}/"))
    return join_url(base_url, address) if prefix and below else urljoin(f"{base_url}/", address)
