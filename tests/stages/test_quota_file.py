"""The counters in a file: what is used, what is reserved, and what is forgotten."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from models.stages.quota import Entry
from models.stages.quota_file import FileLedger


@pytest.fixture
def ledger(tmp_path: Path) -> FileLedger:
    return FileLedger(tmp_path / "new" / "quotas.sqlite3", "the field")


def entry(amount: int = 1, most: int = 5, seconds: float = 60.0) -> Entry:
    return Entry("key", amount, most, seconds)


def held(ledger: FileLedger, now: float = 0.0) -> Sequence[int]:
    """What the counter holds, as a request is told that can never go on."""
    return ledger.reserve("asking", [entry(amount=9)], now, now)


def test_what_is_reserved_and_used_counts_up_to_the_limit(ledger: FileLedger) -> None:
    assert ledger.reserve("a", [entry(3)], 0.0, 600.0) == ()
    assert ledger.reserve("b", [entry(3)], 0.0, 600.0) == [3]
    assert ledger.reserve("b", [entry(2)], 0.0, 600.0) == ()
    ledger.settle("a", [entry(1)], 1.0)
    assert held(ledger) == [3]
    ledger.settle("b", [], 1.0)
    assert held(ledger) == [1]


def test_a_window_that_has_ended_is_forgotten(ledger: FileLedger) -> None:
    ledger.settle("a", [entry(2, seconds=60.0)], 0.0)
    ledger.settle("b", [], 59.5)
    assert held(ledger) == [2]
    ledger.settle("c", [], 60.0)
    assert held(ledger) == [0]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_what_is_made_after_its_window_counts_nowhere(ledger: FileLedger, seconds: float) -> None:
    ledger.settle("a", [entry(2, seconds=seconds)], 0.0)
    assert held(ledger) == [0]


def test_what_is_made_in_the_last_second_of_its_window_counts(ledger: FileLedger) -> None:
    ledger.settle("a", [entry(2, seconds=0.5)], 0.0)
    assert held(ledger) == [2]


@pytest.mark.parametrize(("later", "counted"), [(86_400.0, 2), (86_400.5, 4)])
def test_a_request_is_known_as_settled_for_a_day(ledger: FileLedger, later: float, counted: int) -> None:
    ledger.settle("a", [entry(2, seconds=200_000.0)], 0.0)
    ledger.settle("b", [], later)
    ledger.settle("a", [entry(2, seconds=1000.0)], later)
    assert held(ledger, later) == [counted]


@pytest.mark.parametrize(("now", "count"), [(600.0, 3), (600.5, 0)])
def test_a_reservation_ends_with_its_lease(ledger: FileLedger, now: float, count: int) -> None:
    ledger.reserve("a", [entry(3)], 0.0, 600.0)
    assert held(ledger, now) == [count]
