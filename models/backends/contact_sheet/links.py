"""Fetching the images that links in a prompt lead to.

A prompt may come from anybody. Links are followed to public addresses, to the hosts that the owner's `limits` names, and
to Dify's own signed file links, which are known by their form; redirects are not followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.backends.errors import BadRequest, ConnectionFailed, ImageError
from models.backends.file_links import is_dify_link, may_be_private
from models.backends.http import MIB
from models.backends.images import download
from models.clock import Clock, Deadline

LARGEST_FILE = 24 * MIB
LARGEST_TOGETHER = 96 * MIB
_SECONDS = 20.0  # for one file
EXPIRED = "Dify's own links work for 300 seconds: make the sheet sooner, raise FILES_ACCESS_TIMEOUT, or use storage"


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
                allow_private=may_be_private(address, self.hosts),
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
