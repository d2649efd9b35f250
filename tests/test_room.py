"""Room for results: bounded bytes, fair order, and nobody who waits for ever."""

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from models.room import FREE, MIB, CallRoom, Intake, Room, leave_room, room_for_call


class Watch:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def room(watch: Watch) -> Room:
    return Room(10 * MIB, lasting=5.0, now=watch)


def entering(call: CallRoom, mib: int) -> "gevent.Greenlet[[int], None]":
    """A greenlet in which `call` takes room; it has had time to get in or to wait."""
    greenlet = gevent.spawn(call.take, mib * MIB)
    settle()
    return greenlet


def settle() -> None:
    for _ in range(5):
        gevent.sleep(0)


@contextmanager
def killed(*greenlets: "gevent.Greenlet[[int], None]") -> Iterator[None]:
    try:
        yield
    finally:
        gevent.killall(greenlets)


def test_results_get_in_as_long_as_there_is_room(room: Room) -> None:
    first, second, third = (CallRoom(room, form) for form in range(3))
    first.take(6 * MIB)
    second.take(4 * MIB)
    waiting = entering(third, 1)
    with killed(waiting):
        assert not waiting.ready()
        first.leave()
        settle()
        assert waiting.ready()
    assert third.size == MIB


def test_never_more_bytes_than_the_room_holds(room: Room) -> None:
    """200 calls at once; each one is a moment in memory."""
    inside, most = 0, 0

    def work(number: int) -> None:
        nonlocal inside, most
        call = CallRoom(room, number % 7)
        call.take((1 + number % 3) * MIB)
        inside += call.size
        most = max(most, inside)
        gevent.sleep(0)
        inside -= call.size
        call.leave()

    greenlets = [gevent.spawn(work, number) for number in range(200)]
    gevent.joinall(greenlets, timeout=10, raise_error=True)
    assert all(greenlet.successful() for greenlet in greenlets)
    assert 8 * MIB < most <= 10 * MIB


def test_a_result_larger_than_the_room_gets_in_alone(room: Room) -> None:
    small, large, later = (CallRoom(room, form) for form in range(3))
    small.take(MIB)
    waiting = entering(large, 160)
    behind = entering(later, 1)
    with killed(waiting, behind):
        assert not waiting.ready()
        assert not behind.ready(), "it would keep the large one waiting for ever"
        small.leave()
        settle()
        assert waiting.ready()
        assert not behind.ready()
        large.leave()
        settle()
        assert behind.ready()


def test_several_images_of_one_result_do_not_block_each_other(room: Room) -> None:
    first, second = CallRoom(room, 1), CallRoom(room, 2)
    first.take(5 * MIB)
    second.take(5 * MIB)
    first.take(5 * MIB)
    second.take(5 * MIB)
    assert (first.size, second.size) == (10 * MIB, 10 * MIB)


def test_two_images_of_one_call_that_wait_together_get_in_together(room: Room) -> None:
    other, call, later = CallRoom(room, 1), CallRoom(room, 2), CallRoom(room, 3)
    other.take(9 * MIB)
    both = [entering(call, 8), entering(call, 8)]
    behind = entering(later, 1)
    with killed(*both, behind):
        other.leave()
        settle()
        assert [greenlet.ready() for greenlet in (*both, behind)] == [True, True, False]
        assert call.size == 16 * MIB
        call.leave()
        settle()
        assert behind.ready()


def test_the_account_with_the_fewest_results_comes_first(room: Room) -> None:
    busy = [CallRoom(room, 1), CallRoom(room, 1)]
    for call in busy:
        call.take(5 * MIB)
    more, other = CallRoom(room, 1), CallRoom(room, 2)
    waiting = [entering(more, 5), entering(other, 5)]
    with killed(*waiting):
        busy[0].leave()
        settle()
        assert [greenlet.ready() for greenlet in waiting] == [False, True]


def test_the_room_of_a_call_that_waits_for_something_else_counts_no_more(room: Room, watch: Watch) -> None:
    stuck, other = CallRoom(room, 1), CallRoom(room, 2)
    stuck.take(10 * MIB)
    watch.time += 4
    waiting = entering(other, 1)
    with killed(waiting):
        assert not waiting.ready()
        watch.time += 2
        gevent.sleep(0.05)  # the waiting one looks at the clock again
        waiting.join(timeout=2)
        assert waiting.ready()
    stuck.leave()
    other.leave()
    assert not room._inside


def test_each_mib_renews_the_room(room: Room, watch: Watch) -> None:
    slow, other = CallRoom(room, 1), CallRoom(room, 2)
    slow.take(10 * MIB)
    watch.time += 4
    slow.take(MIB)
    watch.time += 4
    waiting = entering(other, 1)
    with killed(waiting):
        assert not waiting.ready()


def test_who_stops_waiting_lets_the_next_one_in(room: Room) -> None:
    inside, large, small = (CallRoom(room, form) for form in range(3))
    inside.take(9 * MIB)
    waiting, behind = entering(large, 5), entering(small, 1)
    with killed(waiting, behind):
        waiting.kill(gevent.Timeout(1))
        settle()
        assert behind.ready()
    assert large.size == 0
    inside.leave()
    small.leave()
    assert not room._inside
    assert not room._waiting


def test_a_call_leaves_at_its_end_and_after_an_error(room: Room) -> None:
    with room_for_call("form", room) as call:
        call.take(MIB)
    assert not room._inside

    def fail() -> None:
        with room_for_call("form", room) as failing:
            failing.take(MIB)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- raised three lines above
        fail()
    assert not room._inside


def test_the_greenlets_of_a_call_share_its_room_and_others_do_not(room: Room) -> None:
    seen: list[int] = []

    def read() -> None:
        Intake(2 * MIB).received(MIB)

    with room_for_call("form", room) as call:
        gevent.spawn(read).get()
        seen.append(call.size)
        leave_room()
        seen.append(call.size)
    gevent.spawn(read).get()
    assert seen == [2 * MIB, 0]
    assert not room._inside


def test_small_bodies_take_no_room(room: Room) -> None:
    with room_for_call("form", room) as call:
        Intake(FREE).received(FREE)
        assert call.size == 0


def test_a_body_without_a_length_takes_what_comes(room: Room) -> None:
    with room_for_call("form", room) as call:
        body = Intake(0)
        for size in range(0, 5 * MIB, 64 * 1024):
            body.received(size)
        assert 4 * MIB < call.size <= 5 * MIB


def test_a_body_takes_each_byte_once(room: Room) -> None:
    with room_for_call("form", room) as call:
        body, taken = Intake(0), list[int]()
        for size in (FREE + 1, FREE + 1 + MIB, FREE + 2 + MIB):
            body.received(size)
            taken.append(call.size)
        assert taken == [FREE + 1, FREE + 1, FREE + 2 + MIB]
        known = Intake(3 * MIB)
        for size in (FREE + 1, 3 * MIB):
            known.received(size)
        assert call.size == FREE + 2 + 4 * MIB


def test_a_call_keeps_what_else_its_greenlet_hands_on(room: Room) -> None:
    here = gevent.getcurrent()
    before = getattr(here, "spawn_tree_locals", None)
    here.spawn_tree_locals = {"other": 1}  # type: ignore[attr-defined]
    try:
        with room_for_call("form", room):
            assert here.spawn_tree_locals["other"] == 1  # type: ignore[attr-defined]
        assert here.spawn_tree_locals == {"other": 1}  # type: ignore[attr-defined]
    finally:
        here.spawn_tree_locals = before  # type: ignore[attr-defined]


def test_equal_forms_are_one_account(room: Room) -> None:
    forms = []
    for form in ({"api_key": "a"}, {"api_key": "a"}, {"api_key": "b"}):
        with room_for_call(form, room) as call:
            forms.append(call.form)
    assert (forms[0] == forms[1], forms[0] == forms[2]) == (True, False)


@pytest.mark.parametrize(("passed", "gets_in"), [(4.9, False), (5.0, True)])
def test_the_room_of_a_call_counts_for_five_seconds(room: Room, watch: Watch, passed: float, *, gets_in: bool) -> None:
    CallRoom(room, 1).take(10 * MIB)
    watch.time += passed
    waiting = entering(CallRoom(room, 2), 1)
    with killed(waiting):
        assert waiting.ready() is gets_in
