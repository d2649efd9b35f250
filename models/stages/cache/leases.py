"""Who makes an image that several ask for: one holder per name, for a few seconds that the holder renews.

A holder that died renews nothing, so that nobody waits for it. Leases are in Redis where the owner gives an address, for
several machines; else in the plugin's SQLite file, for the processes of one machine.
"""

from dataclasses import dataclass
from typing import Protocol, cast

from models.backends.errors import ImageError
from models.clock import Clock
from models.redis_client import RedisClient
from models.settings import Settings
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.local import FILE, LocalState

_PREFIX = "image_generation:lease:"
_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_DROP = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 0"
_HELD = "return redis.call('EXISTS', KEYS[1])"


class Leases(Protocol):
    """Every method raises CacheFaultError."""

    def take(self, name: str, holder: str, seconds: float) -> str:
        """Take or renew a lease. Returns its holder, which is another one where the lease is taken."""

    def drop(self, name: str, holder: str) -> None: ...

    def is_free(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class RedisLeases:
    client: RedisClient

    def take(self, name: str, holder: str, seconds: float) -> str:
        return cast(bytes, self._run(_TAKE, name, holder, int(seconds * 1000))).decode()

    def drop(self, name: str, holder: str) -> None:
        self._run(_DROP, name, holder)

    def is_free(self, name: str) -> bool:
        return self._run(_HELD, name) == 0

    def _run(self, script: str, name: str, *arguments: str | float) -> object:
        try:
            return self.client.run(script, [f"{_PREFIX}{name}"], arguments)
        except ImageError as error:
            raise CacheFaultError(error.said, error.next_step) from None


def leases_of(settings: Settings, clock: Clock) -> Leases:
    url = settings.text("redis_url")
    if url:
        return RedisLeases(RedisClient(url, settings.where("redis_url"), "The cache could not be shared"))
    return LocalState(settings.state_folder / FILE, clock)
