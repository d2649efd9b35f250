"""Quota counters in Redis, for several machines, and for counts that must outlive an upgrade of the plugin.

Each counter is a hash with `used`, `reserved` and the amount of each reservation under its request's id, and a sorted set
of these ids by the end of their leases. A script is one atomic step; all keys of an account share a slot of a cluster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from models.redis_client import RedisClient
from models.stages.quota import Entry

_PREFIX = "image_generation:quota:"
_REMEMBERED = 86_400  # seconds for which a request is known as settled

_DROP = """
local function drop(counter, leases, request)
    local amount = redis.call('HGET', counter, request)
    if amount then
        redis.call('HINCRBY', counter, 'reserved', -amount)
        redis.call('HDEL', counter, request)
    end
    redis.call('ZREM', leases, request)
end
"""
_RESERVE = f"""{_DROP}
local request, now, ends = ARGV[1], ARGV[2], ARGV[3]
local held, over = {{}}, false
for i = 1, #KEYS / 2 do
    local counter, leases = KEYS[2 * i - 1], KEYS[2 * i]
    for _, ended in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now)) do
        drop(counter, leases, ended)
    end
    local counts = redis.call('HMGET', counter, 'used', 'reserved', request)
    held[i] = (tonumber(counts[1]) or 0) + (tonumber(counts[2]) or 0) - (tonumber(counts[3]) or 0)
    over = over or held[i] + ARGV[3 * i + 1] > tonumber(ARGV[3 * i + 2])
end
if over then return held end
for i = 1, #KEYS / 2 do
    local counter, leases, amount, seconds = KEYS[2 * i - 1], KEYS[2 * i], ARGV[3 * i + 1], ARGV[3 * i + 3]
    local before = tonumber(redis.call('ZSCORE', leases, request) or 0)
    drop(counter, leases, request)
    redis.call('HSET', counter, request, amount)
    redis.call('HINCRBY', counter, 'reserved', amount)
    redis.call('ZADD', leases, before > tonumber(ends) and before or ends, request)
    redis.call('EXPIRE', counter, seconds)
    redis.call('EXPIRE', leases, seconds)
end
return {{}}
"""
_SETTLE = f"""{_DROP}
local request = ARGV[1]
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[2]) then return 0 end
for i = 1, (#KEYS - 1) / 2 do
    local counter, leases, amount, seconds = KEYS[2 * i], KEYS[2 * i + 1], ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
    drop(counter, leases, request)
    if seconds > 0 then
        redis.call('HINCRBY', counter, 'used', amount)
        redis.call('EXPIRE', counter, seconds)
    end
end
return 1
"""


@dataclass(frozen=True, slots=True)
class RedisLedger:
    """A Ledger."""

    client: RedisClient

    def reserve(self, request: str, entries: Sequence[Entry], now: float, until: float) -> Sequence[int]:
        amounts = [value for entry in entries for value in (entry.amount, entry.most, ceil(entry.seconds) + 1)]
        held = self.client.run(
            _RESERVE, [key for entry in entries for key in _keys(entry)], [request, now, until, *amounts]
        )
        return [int(count) for count in held] if isinstance(held, list) else []

    def settle(self, request: str, entries: Sequence[Entry], now: float) -> None:
        del now  # Redis ends windows by its own clock
        slot = _slot(entries[0].key) if entries else ""
        keys = [f"{_PREFIX}{slot}:settled:{request}", *(key for entry in entries for key in _keys(entry))]
        amounts = [value for entry in entries for value in (entry.amount, ceil(entry.seconds))]
        self.client.run(_SETTLE, keys, [request, _REMEMBERED, *amounts])

    def ping(self) -> None:
        self.client.run("return 1", [], [])


def _slot(key: str) -> str:
    account, _, _ = key.partition(":")
    return f"{{{account}}}"


def _keys(entry: Entry) -> Iterator[str]:
    _, _, rest = entry.key.partition(":")
    counter = f"{_PREFIX}{_slot(entry.key)}:{rest}"
    yield counter
    yield f"{counter}:leases"
