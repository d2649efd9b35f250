"""From what an answer holds to images: base64 is decoded, addresses are fetched."""

from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from models.backends.download import download_result
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import Service, join_url
from models.backends.openai_images.answer import Found, decoded
from models.clock import Deadline
from models.entities import GeneratedImage
from models.images.sniff import NotAnImageError, sniff


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Makes the images of one answer of `service`; `kept` says in words how long its addresses are good, if at all."""

    service: Service
    attempt: str
    deadline: Deadline
    kept: str = ""

    def image(self, found: Found, seed: int | None) -> GeneratedImage:
        """Raises ServerUnavailable for an image that is none or cannot be had, ConnectionFailed while fetching it."""
        data, url = self._bytes(found)
        try:
            sniff(data)
        except NotAnImageError as error:
            next_step = "Try again; if it stays, see the server's log"
            raise ServerUnavailable(f"{self.attempt} failed", str(error), next_step) from None
        return GeneratedImage(data, url=url, seed=seed, revised_prompt=found.revised_prompt or None)

    def _bytes(self, found: Found) -> tuple[bytes, str | None]:
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
            next_step=self._again,
        )

    def _from_origin(self, url: str) -> bytes:
        """An image of the server's own origin, which is asked with the login."""
        there = urlsplit(url)
        own = replace(self.service, base_url=f"{there.scheme}://{there.netloc}")
        path = f"{there.path}?{there.query}" if there.query else there.path
        try:
            return own.request("GET", path, attempt=self._fetching, deadline=self.deadline).body
        except BadRequest as error:  # the request was fine: the server does not have what it named
            raise ServerUnavailable(error.attempted, error.said, self._again, transient=error.transient) from None

    @property
    def _fetching(self) -> str:
        return f"{self.attempt}: fetching the image"

    @property
    def _again(self) -> str:
        return f"Generate it again{f': the service keeps images for {self.kept}' if self.kept else ''}"


def resolved(base_url: str, address: str) -> str:
    """The absolute address of an image. A path is below the base: a server knows nothing of the prefix of its proxy."""
    prefix = urlsplit(base_url).path
    below = address.startswith("/") and not address.startswith(("//", f"{prefix}/"))
    return join_url(base_url, address) if prefix and below else urljoin(f"{base_url}/", address)
