"""What a process knows of its servers, and the order in which they are chosen."""

import pytest

from models.backends.errors import BadRequest, ConnectionFailed, RateLimited, ServerUnavailable, names_like, shorten
from models.backends.servers import AbleServer, PooledBackend, ServerRecord, Standing, in_parallel
from tests.fakes import FakeClock


def able(
    clock: FakeClock, place: int = 0, *, used: float = 0.0, asked: float = 0.0, **standing: object
) -> AbleServer[PooledBackend]:
    class Placed:
        pass

    one = Placed()
    one.place = place  # type: ignore[attr-defined]
    return AbleServer(one, ServerRecord(used=used), Standing(**standing), asked)  # type: ignore[arg-type]


def test_the_shortest_queue_goes_first_and_loading_counts_as_a_job(clock: FakeClock) -> None:
    ranked = [
        able(clock, 0, waiting=0, loaded=True),
        able(clock, 1, waiting=1, loaded=True),
        able(clock, 2, waiting=0),
        able(clock, 3, waiting=0, used=5.0),
        able(clock, 4, waiting=0, used=5.0),
        able(clock, 5, waiting=2, loaded=True),
        able(clock, 6, waiting=1),
    ]
    mixed = [ranked[place] for place in (5, 2, 6, 0, 4, 1, 3)]
    assert sorted(mixed, key=lambda one: one.rank) == ranked


def test_jobs_that_a_report_does_not_hold_are_added(clock: FakeClock) -> None:
    record = ServerRecord()
    assert (record.used, record.unreported(clock.now())) == (0.0, 0)
    with record.handing_over(clock):
        assert (record.underway, record.used, record.unreported(clock.now() + 5)) == (1, clock.now(), 1)
    assert (record.underway, record.unreported(clock.now()), record.unreported(clock.now() + 0.1)) == (0, 1, 0)
    clock.time += 60
    with record.handing_over(clock):
        pass
    assert len(record.done) == 2
    clock.time += 0.1
    with record.handing_over(clock):
        pass
    assert len(record.done) == 2, "a minute later no report is so old"


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (ConnectionFailed("x"), True),
        (ServerUnavailable("x"), True),
        (BadRequest("x"), False),
        (RateLimited("x"), False),
    ],
)
def test_a_server_is_left_out_for_its_own_failures(clock: FakeClock, error: Exception, out: bool) -> None:
    record = ServerRecord()
    record.note(error, clock.now())  # type: ignore[arg-type]
    assert (record.trouble is error) is out
    assert record.out_until == (clock.now() + 30 if out else 0.0)
    record.recover()
    assert record.trouble is None


def test_each_item_fails_on_its_own() -> None:
    failure = BadRequest("x")

    def work(item: int) -> int:
        if item == 2:
            raise failure
        return item * 10

    assert in_parallel(work, [1, 2, 3]) == [10, failure, 30]
    assert in_parallel(work, []) == []
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda item: 1 // item, [0])


@pytest.mark.parametrize(("count", "tail"), [(11, "n10"), (12, "n11"), (13, "n11 … (13 in all)")])
def test_at_most_a_dozen_names_are_shown(count: int, tail: str) -> None:
    assert names_like("zzz", [f"n{number}" for number in range(count)]).endswith(tail)
    assert names_like("photo", ["a", "photos", "b"]) == "photos, a, b"


@pytest.mark.parametrize(("length", "cut"), [(600, False), (601, True)])
def test_words_are_cut_at_600_characters(length: int, cut: bool) -> None:
    said = shorten("x" * length)
    assert (len(said), said.endswith("…")) == (600, cut)
    assert shorten(" a \n b ") == "a b"
