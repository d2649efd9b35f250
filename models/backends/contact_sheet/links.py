"""Fetching the images that links in a prompt lead to.

A prompt may come from anybody. Links are followed to public addresses, to the hosts that the owner's `limits` names, and
to Dify's own signed file links, which are known by their form; redirects are not followed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from models.backends.errors import BadRequest, ConnectionFailed, ImageError
from models.backends.http import MIB
from models.backends.images import download
from models.clock import Clock, Deadline

LARGEST_FILE = 24 * MIB
LARGEST_TOGETHER = 96 * MIB
_SECONDS = 20.0  # for one file
_DIFY_PATH = re.compile(r"(?:/[\w.-]+)*/files/(?:tools/[\w-]{36}(?:\.\w{1,8})?|[\w-]{36}/(?:file|image)-preview)")
_DIFY_QUERY = frozenset({"timestamp", "nonce", "sign"})
EXPIRED = "Dify's own links work for 300 seconds: make the sheet sooner, raise FILES_ACCESS_TIMEOUT, or use storage"


def is_dify_link(address: str) -> bool:
    """Whether an address has the form of a file link that Dify signed (`/files/tools/<id>.png?timestamp=...`)."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # The path may lie below a prefix of a reverse proxy.
    return bool(_DIFY_PATH.fullmatch(parts.path)) and parse_qs(parts.query).keys() >= _DIFY_QUERY


@dataclass(slots=True)
class LinkFetcher:
    """Fetches the links of one request. `hosts` are those of the owner's `limits`, with or without a port."""

    hosts: Sequence[str]
    clock: Clock
    deadline: Deadline
    _taken: int = field(default=0, init=False)

    def fetch(self, address: str) -> bytes:
        """The bytes behind a link. Raises ImageError with the reason, BadRequest for an address that is not allowed."""
        if address.startswith("/files/"):
            raise BadRequest("The link", "has no host", "Set FILES_URL in Dify's environment")
        try:
            data = download(
                address,
                attempt="The link",
                clock=self.clock,
                deadline=self.deadline.earlier(_SECONDS),
                max_bytes=LARGEST_FILE,
                allow_private=self._is_named(address) or is_dify_link(address),
                redirects=0,
            ).body
        except ImageError as error:
            if is_dify_link(address) and not isinstance(error, ConnectionFailed):
                error.next_step = EXPIRED
            raise
        self._taken += len(data)
        if self._taken > LARGEST_TOGETHER:
            raise BadRequest(
                "The link", f"the images have more than {LARGEST_TOGETHER // MIB} MiB together", "Use fewer"
            )
        return data

    def _is_named(self, address: str) -> bool:
        try:
            parts = urlsplit(address)
            names = {parts.netloc.rpartition("@")[2].casefold(), (parts.hostname or "").casefold()}
        except ValueError:
            return False
        return not names.isdisjoint(self.hosts)
