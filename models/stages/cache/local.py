"""A SQLite file in the plugin's folder: entries of the cache with a size limit, and leases, for all processes of a machine.

SQLite holds its thread up while it waits for the disk or for another process, so it works in gevent's thread pool.
The entries that were not used for the longest time go first.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.clock import Clock
from models.stages.cache.fault import CacheFaultError
from models.threads import ThreadShare

FILE = "cache.sqlite3"
MOST_BYTES = 512_000_000
_LARGEST = 64_000_000  # bytes of one entry
_BUSY = 10.0  # seconds to wait for the other processes
_USED_AGAIN = 60.0  # seconds in which a second use is not written down
_thread = ThreadShare(1)  # one connection, and SQLite has one writer at a time anyway
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, used REAL NOT NULL, until REAL NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON entries (used, size);
CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
"""
_OVER_THE_LIMIT = """
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM (SELECT rowid, SUM(size) OVER (ORDER BY used DESC, rowid DESC) AS total FROM entries) WHERE total > ?
)
"""
_TAKE = """
INSERT INTO leases VALUES (:name, :holder, :until) ON CONFLICT (name) DO UPDATE SET holder = :holder, until = :until
WHERE until < :now OR holder = :holder
"""


@dataclass(frozen=True, slots=True)
class LocalState:
    """`path` is the file. Every method raises CacheFaultError."""

    path: Path
    clock: Clock
    most_bytes: int = MOST_BYTES

    def get(self, name: str) -> bytes | None:
        return _thread.run(self._get, name, self.clock.now())

    def put(self, name: str, data: bytes, seconds: float) -> None:
        """Keep `data` for `seconds`; a very large one is not kept."""
        if len(data) <= min(_LARGEST, self.most_bytes):
            _thread.run(self._put, name, data, self.clock.now(), seconds)

    def take(self, name: str, holder: str, seconds: float) -> str:
        """Take or renew a lease. Returns its holder, which is another one where the lease is taken."""
        return _thread.run(self._take, name, holder, self.clock.now(), seconds)

    def drop(self, name: str, holder: str) -> None:
        _thread.run(self._drop, name, holder)

    def is_free(self, name: str) -> bool:
        return _thread.run(self._is_free, name, self.clock.now())

    def _get(self, name: str, now: float) -> bytes | None:
        with self._opened() as database:
            found = database.execute(
                "SELECT data, used FROM entries WHERE name = ? AND until > ?", (name, now)
            ).fetchone()
            if found is None:
                return None
            data, used = found
            if now - used > _USED_AGAIN:
                database.execute("UPDATE entries SET used = ? WHERE name = ?", (now, name))
            return bytes(data)

    def _put(self, name: str, data: bytes, now: float, seconds: float) -> None:
        with self._transaction() as database:
            row = (name, len(data), now, now + seconds, data)
            database.execute(
                "INSERT OR REPLACE INTO entries (name, size, used, until, data) VALUES (?, ?, ?, ?, ?)", row
            )
            database.execute("DELETE FROM entries WHERE until < ?", (now,))
            database.execute(_OVER_THE_LIMIT, (self.most_bytes,))

    def _take(self, name: str, holder: str, now: float, seconds: float) -> str:
        with self._transaction() as database:
            row = {"name": name, "holder": holder, "until": now + seconds, "now": now}
            if database.execute(_TAKE, row).rowcount:
                database.execute("DELETE FROM leases WHERE until < ?", (now,))
                return holder
            return str(database.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()[0])

    def _drop(self, name: str, holder: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))

    def _is_free(self, name: str, now: float) -> bool:
        with self._opened() as database:
            return not database.execute("SELECT 1 FROM leases WHERE name = ? AND until >= ?", (name, now)).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back
                yield database

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            yield _connection(self.path)
        except (OSError, sqlite3.Error) as error:
            raise CacheFaultError(
                f"the file {self.path} cannot be used ({error})",
                "Let the plugin write to that folder, or name another by IMAGE_GENERATION_STATE_DIR",
            ) from None


@lru_cache(maxsize=8)
def _connection(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Any thread of the pool may use it, one at a time.
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA auto_vacuum=INCREMENTAL")
    database.executescript(_TABLES)
    return database
