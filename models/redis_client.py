"""Redis, where the owner gives an address: one bounded pool of connections per address and process.

The pure Python client waits in Python's sockets, which gevent has patched: other requests go on. Its import takes a
third of a second, so it happens in a thread, and only where an address is given.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ImageError, ServerUnavailable
from models.threads import ThreadShare

if TYPE_CHECKING:
    from redis import Redis

SECONDS = 2.0
"""For a connection, and for each reply."""
_CONNECTIONS = 16  # per process; a script takes well under a millisecond
_import = ThreadShare(1)


@dataclass(frozen=True, slots=True, repr=False)  # the address holds the password
class RedisClient:
    """`where` names the form's field with the address, `attempt` is what failed where Redis fails."""

    url: str
    where: str
    attempt: str

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | float]) -> object:
        """The reply of a Lua script; it may run twice where a reply was lost. Raises ImageError."""
        if "redis.exceptions" not in sys.modules:
            _import.run(importlib.import_module, "redis")
        from redis import exceptions  # noqa: PLC0415 -- see the module's docstring

        try:
            return _client(self.url).eval(script, len(keys), *keys, *map(str, arguments))
        except ValueError as error:  # no address of Redis
            raise BadRequest(self.attempt, f"{self.where} holds no address of Redis ({error})", _FORM) from None
        except exceptions.RedisError as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> ImageError:
        from redis import exceptions  # noqa: PLC0415

        kind: type[ImageError] = ServerUnavailable
        if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
            kind = AuthorizationFailed
        elif isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError)):
            kind = ConnectionFailed
        return kind(self.attempt, f"Redis says: {error}", f"Check {self.where} and that Redis is running there")


_FORM = "Write it as redis://:PASSWORD@host:6379/0, or rediss:// for TLS"


@lru_cache(maxsize=16)
def _client(url: str) -> "Redis":
    """Raises ValueError for an address that is none."""
    from redis import BlockingConnectionPool, Redis  # noqa: PLC0415 -- see the module's docstring
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=2 * SECONDS,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=Retry(NoBackoff(), 1),  # a connection that idled may have been closed
    )
    return Redis(connection_pool=pool)
