"""Quota counters in a SQLite file, for the processes of one machine. The file survives restarts.

SQLite holds the thread up while it waits for a lock or the disk, so it works in gevent's thread pool. A count that is
committed survives the death of the process; after a loss of power the last ones may be missing (synchronous=NORMAL).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.backends.errors import ServerUnavailable
from models.stages.quota import Entry
from models.threads import ThreadShare

_thread = ThreadShare(1)  # one connection, and SQLite has one writer at a time anyway
_BUSY = 10.0  # seconds to wait for the other processes
_REMEMBERED = 86_400.0  # seconds for which a request is known as settled
_TABLES = """
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, used INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
    key TEXT, request TEXT, amount INTEGER NOT NULL, until REAL NOT NULL, PRIMARY KEY (key, request)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_request ON reservations (request);
CREATE INDEX IF NOT EXISTS by_lease ON reservations (until);
CREATE TABLE IF NOT EXISTS settled (request TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
_HELD = """
SELECT COALESCE((SELECT used FROM counters WHERE key = :key), 0)
     + COALESCE((SELECT SUM(amount) FROM reservations WHERE key = :key AND request <> :request), 0)
"""
_RESERVE = """
INSERT INTO reservations VALUES (?, ?, ?, ?)
ON CONFLICT (key, request) DO UPDATE SET amount = excluded.amount, until = MAX(until, excluded.until)
"""
_COUNT = """
INSERT INTO counters VALUES (:key, :amount, :ends) ON CONFLICT (key) DO UPDATE SET used = used + :amount
"""


@dataclass(frozen=True, slots=True)
class FileLedger:
    """A Ledger. `where` names the field to fill for Redis in place of the file."""

    path: Path
    where: str

    def reserve(self, request: str, entries: Sequence[Entry], now: float, until: float) -> Sequence[int]:
        return _thread.run(self._reserve, request, entries, now, until)

    def settle(self, request: str, entries: Sequence[Entry], now: float) -> None:
        _thread.run(self._settle, request, entries, now)

    def ping(self) -> None:
        _thread.run(self._settle, "", (), 0.0)

    def _reserve(self, request: str, entries: Sequence[Entry], now: float, until: float) -> Sequence[int]:
        with self._transaction() as database:
            database.execute("DELETE FROM reservations WHERE until < ?", (now,))
            held = [_held(database, entry.key, request) for entry in entries]
            if any(count + entry.amount > entry.most for count, entry in zip(held, entries, strict=True)):
                return held
            rows = [(entry.key, request, entry.amount, until) for entry in entries]
            database.executemany(_RESERVE, rows)
            return ()

    def _settle(self, request: str, entries: Sequence[Entry], now: float) -> None:
        with self._transaction() as database:
            known = database.execute("INSERT OR IGNORE INTO settled VALUES (?, ?)", (request, now + _REMEMBERED))
            database.execute("DELETE FROM settled WHERE until < ?", (now,))
            if not known.rowcount:
                return
            database.execute("DELETE FROM reservations WHERE request = ?", (request,))
            database.execute("DELETE FROM counters WHERE ends <= ?", (now,))
            rows = [{"key": e.key, "amount": e.amount, "ends": now + e.seconds} for e in entries if e.seconds > 0]
            database.executemany(_COUNT, rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Raises ServerUnavailable where the file cannot be written."""
        try:
            database = _connection(self.path)
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back
                yield database
        except (OSError, sqlite3.Error) as error:
            raise ServerUnavailable(
                "The quotas could not be counted",
                f"the file {self.path} cannot be used ({error})",
                f"Let the plugin write to that folder, name another by IMAGE_GENERATION_STATE_DIR, or fill {self.where}",
            ) from None


@lru_cache(maxsize=8)
def _connection(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Any thread of the pool may use it, one at a time.
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.executescript(_TABLES)
    return database


def _held(database: sqlite3.Connection, key: str, request: str) -> int:
    (count,) = database.execute(_HELD, {"key": key, "request": request}).fetchone()
    return int(count)
