"""Several servers behind one form: the choice, what happens when one fails, and an even spread of many jobs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import get_annotations
from typing import ClassVar

import gevent
import pytest
from gevent.event import Event

from models.backends.base import Backend, Capabilities, Job, JobBackend, Model, Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.server_pool import CallServerPool, JobServerPool, ServerPool, pooled, version_of
from models.backends.servers import (
    ASK_SECONDS,
    LEFT_OUT_SECONDS,
    PooledBackend,
    Standing,
    record_of,
    split_addresses,
)
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.parameters import RULES, Rule
from models.settings import Access
from tests.fakes import FakeClock, image_file
from tests.stubs import StubBackend

FIRST, SECOND, THIRD = "http://gpu1:1", "http://gpu2:2", "http://gpu3:3"


@dataclass
class Machine:
    """What a simulated server says and does. `told` fails a question, `given` a job, `before` a job's preparation.

    `asked`, and `afresh` of them without what is cached; `left` is the time for the last one.
    """

    standing: Standing = field(default_factory=Standing)
    told: ImageError | None = None
    given: ImageError | None = None
    before: ImageError | None = None
    asked: int = 0
    afresh: int = 0
    left: float = 0.0
    jobs: int = 0
    checked: int = 0
    form: tuple[Rule, ...] = ()
    pause: Callable[[], object] = lambda: None
    fresh: Standing | None = None


@dataclass
class Room:
    """All simulated servers, by address."""

    machines: dict[str, Machine] = field(default_factory=dict)

    def __getitem__(self, address: str) -> Machine:
        return self.machines.setdefault(address, Machine())


class RoomBackend(PooledBackend):
    name, title, prefix = "room", "the room", "room"
    charges, required = False, ("base_url",)
    room: ClassVar[Room]

    @property
    def machine(self) -> Machine:
        return self.room[self.model.access.base_url]

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        self.machine.asked += 1
        self.machine.afresh += fresh
        self.machine.left = deadline.remaining
        self.machine.pause()
        if self.machine.told:
            raise self.machine.told
        return self.machine.fresh if fresh and self.machine.fresh else self.machine.standing

    def learn(self, deadline: Deadline) -> None:
        self.machine.left = deadline.remaining
        if self.machine.told:
            raise self.machine.told

    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.learn(deadline)
        return self.machine.form

    def check_access(self) -> Sequence[str]:
        self.learn(self.within(1))
        return ("it works",)

    def hand_over(self) -> None:
        if self.machine.before:
            raise self.machine.before
        self.handed_over = True
        self.machine.pause()
        self.machine.jobs += 1
        if self.machine.given:
            raise self.machine.given

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.hand_over()
        return self.result(request, [GeneratedImage(image_file())], notices=[self.model.access.base_url])


class RoomJobs(RoomBackend, JobBackend):
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job:
        self.hand_over()
        return {"server": self.place}

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        return JobBackend._generate(self, request, deadline)

    def check(self, job: Job) -> Running | ImageResult:
        self.machine.checked += 1
        request = ImageRequest(model="m", prompt="fox")
        return self.result(request, [GeneratedImage(image_file())], notices=[self.model.access.base_url])

    def cancel(self, job: Job) -> None:
        self.machine.checked += 100


@pytest.fixture(autouse=True)
def room() -> Room:
    RoomBackend.room = Room()
    return RoomBackend.room


def pool(clock: FakeClock, *addresses: str, kind: type[RoomBackend] = RoomBackend) -> Backend:
    access = Access(base_url=", ".join(addresses or (FIRST, SECOND, THIRD)))
    return pooled(kind(Model("m", "m", access, None), clock))


def asked() -> ImageRequest:
    return ImageRequest(model="m", prompt="fox", timeout=60)


def chosen(backend: Backend) -> str:
    return backend.invoke(asked()).notices[0]


def unreachable() -> ConnectionFailed:
    error = ConnectionFailed("Generating failed", "gpu could not be reached", "Check the address", transient=True)
    error.undone = True
    return error


def lost() -> ConnectionFailed:
    return ConnectionFailed("Generating failed", "the connection was lost", "Check the server", transient=True)


# Addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("http://a:1", ("http://a:1",)),
        ("http://a:1,http://b:2", ("http://a:1", "http://b:2")),
        ("http://a:1, http://b:2\nhttp://c\n", ("http://a:1", "http://b:2", "http://c")),
        ("http://a:1 http://b:2", ("http://a:1", "http://b:2")),
        ("gpu1, gpu2", ("gpu1", "gpu2")),
        ("gpu1:8188,gpu2:8188", ("gpu1:8188", "gpu2:8188")),
        ("http://a；http://b，http://c", ("http://a", "http://b", "http://c")),
        ("http://a, http://a,", ("http://a",)),
        ("http://h/a,b", ("http://h/a,b",)),
        ("https://h/x?v=1,2", ("https://h/x?v=1,2",)),
        ("http://x y/", ("http://x y/",)),
        ("", ()),
    ],
)
def test_addresses_are_separated_where_an_address_follows(text: str, addresses: tuple[str, ...]) -> None:
    assert split_addresses(text) == addresses


def test_one_address_makes_no_pool_and_asks_nothing_more(clock: FakeClock, room: Room) -> None:
    backend = pool(clock, FIRST)
    assert type(backend) is RoomBackend
    assert chosen(backend) == FIRST
    assert room[FIRST].asked == 0
    alone = pool(clock, FIRST, kind=RoomJobs)
    assert isinstance(alone, RoomJobs)
    assert alone.submit(asked()) == {"server": 0}


def test_a_service_without_lists_keeps_its_field_as_it_is(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    backend.model = replace(backend.model, access=Access(base_url=f"{FIRST}, {SECOND}"))
    assert pooled(backend) is backend


def test_only_services_with_jobs_have_a_pool_with_jobs(clock: FakeClock) -> None:
    assert isinstance(pool(clock, FIRST, SECOND), CallServerPool)
    assert isinstance(pool(clock, FIRST, SECOND, kind=RoomJobs), JobServerPool)


def test_a_pool_has_the_facts_of_its_service(clock: FakeClock) -> None:
    for kind in (RoomBackend, RoomJobs):
        one, several = pool(clock, FIRST, kind=kind), pool(clock, FIRST, SECOND, kind=kind)
        for name, hint in get_annotations(Backend).items():
            if "ClassVar" in str(hint) and name != "customizable":
                assert getattr(several, name) == getattr(one, name), name
        assert getattr(several, "free_to_cancel", None) == getattr(one, "free_to_cancel", None)


# The choice


@pytest.mark.parametrize("question", ["sizes", "seeds", "gives", "version", "needs_prompt"])
def test_the_server_that_leads_answers_what_a_request_depends_on(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    both = pool(clock, FIRST, SECOND)
    assert isinstance(both, ServerPool)
    both.lead = both.members[1]
    for member in both.members:
        monkeypatch.setattr(member, question, lambda about, place=member.place: (place, about))
    assert getattr(both, question)(("about", "this")) == (1, ("about", "this"))


def test_every_server_must_have_what_its_form_requires(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    both = pool(clock, FIRST, SECOND)
    assert isinstance(both, ServerPool)
    monkeypatch.setattr(both.members[1], "required", ("api_key",))
    with pytest.raises(BadRequest):
        both.require_access()


def test_a_server_that_lacks_something_is_passed_over(clock: FakeClock, room: Room) -> None:
    room[FIRST].standing = Standing(lacks="it has no flux.safetensors", loaded=True)
    room[SECOND].standing = Standing(waiting=7)
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND


def test_the_shortest_queue_goes_first(clock: FakeClock, room: Room) -> None:
    for address, waiting in ((FIRST, 3), (SECOND, 1), (THIRD, 2)):
        room[address].standing = Standing(waiting=waiting)
    assert chosen(pool(clock)) == SECOND


@pytest.mark.parametrize(("waiting", "expected"), [(0, SECOND), (1, SECOND), (2, FIRST)])
def test_a_loaded_model_is_worth_one_waiting_job(clock: FakeClock, room: Room, waiting: int, expected: str) -> None:
    room[SECOND].standing = Standing(loaded=True, waiting=waiting)
    assert chosen(pool(clock, FIRST, SECOND)) == expected


def test_among_equals_the_server_goes_first_that_was_used_the_longest_ago(clock: FakeClock) -> None:
    order = []
    for _ in range(6):
        order.append(chosen(pool(clock)))
        clock.time += 100
    assert order == [FIRST, SECOND, THIRD] * 2


def test_files_that_were_just_added_are_seen_before_a_request_is_refused(clock: FakeClock, room: Room) -> None:
    room[FIRST].standing = Standing(lacks="it has no new.safetensors")
    room[SECOND].standing = Standing(lacks="it has no new.safetensors")
    room[SECOND].fresh = Standing()
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND


# Failures


def test_a_dead_server_is_left_out_and_asked_again_beside_a_later_request(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    assert [chosen(pool(clock, FIRST, SECOND)) for _ in range(3)] == [SECOND] * 3
    assert room[FIRST].asked == 1
    room[FIRST].told = None
    clock.time += LEFT_OUT_SECONDS
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND, "no request waits for it"
    gevent.sleep(0)
    assert (room[FIRST].asked, room[FIRST].afresh) == (2, 0)
    assert chosen(pool(clock, FIRST, SECOND)) == FIRST


def test_a_dead_server_is_asked_again_once_in_a_while_only(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    for _ in range(30):
        chosen(pool(clock, FIRST, SECOND))
        gevent.sleep(0)
        clock.time += LEFT_OUT_SECONDS / 10
    assert room[FIRST].asked == 3


def test_a_dead_server_is_asked_again_by_one_of_several_requests(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    chosen(pool(clock, FIRST, SECOND))
    clock.time += LEFT_OUT_SECONDS
    answered = Event()
    room[FIRST].pause = answered.wait
    for _ in range(3):
        chosen(pool(clock, FIRST, SECOND))
        gevent.sleep(0)
    assert room[FIRST].asked == 2
    answered.set()


def test_servers_that_were_left_out_are_asked_before_a_request_fails(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = room[SECOND].told = unreachable()
    with pytest.raises(ConnectionFailed):
        chosen(pool(clock, FIRST, SECOND))
    room[SECOND].told = None
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND


def test_a_job_that_did_not_arrive_goes_to_the_next_server(clock: FakeClock, room: Room) -> None:
    room[FIRST].given = unreachable()
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND
    room[FIRST].given = None
    clock.time += 1
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND
    assert room[FIRST].asked == 1, "it is left out for a while"


def test_a_job_that_may_have_arrived_goes_nowhere_else(clock: FakeClock, room: Room) -> None:
    room[FIRST].given = lost()
    with pytest.raises(ConnectionFailed, match="the connection was lost"):
        chosen(pool(clock, FIRST, SECOND))
    assert room[SECOND].jobs == 0


def test_what_fails_before_the_job_is_handed_over_goes_to_the_next_server(clock: FakeClock, room: Room) -> None:
    room[FIRST].before = BadRequest("There is no LoRA 'x' on the server", next_step="Add it")
    assert chosen(pool(clock, FIRST, SECOND)) == SECOND
    clock.time += 1
    room[FIRST].before = None
    assert chosen(pool(clock, FIRST, SECOND)) == FIRST, "a server that only lacks a file is not left out"


def test_when_all_refuse_the_sentence_says_why_each_did(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    room[SECOND].standing = Standing(lacks="it has no flux.safetensors")
    room[THIRD].given = unreachable()
    with pytest.raises(ConnectionFailed) as failure:
        chosen(pool(clock))
    assert str(failure.value) == (
        "None of the 3 servers in “Base URL” (base_url) in the model's settings could take the request: gpu1:1: gpu could "
        "not be reached; gpu2:2: it has no flux.safetensors; gpu3:3: gpu could not be reached. Check the address."
    )
    assert failure.value.undone


def test_what_every_server_refuses_alike_is_said_once(clock: FakeClock, room: Room) -> None:
    for address in (FIRST, SECOND):
        room[address].before = BadRequest("The parameter `steps` cannot be 0", next_step="Give more")
    with pytest.raises(BadRequest) as failure:
        chosen(pool(clock, FIRST, SECOND))
    assert str(failure.value) == "The parameter `steps` cannot be 0. Give more."
    room[SECOND].before = BadRequest("The parameter `n` cannot be 0", next_step="Give more")
    with pytest.raises(BadRequest, match=r"None of the 2 servers .*: gpu1:1: The .*`steps`.*; gpu2:2: The .*`n`"):
        chosen(pool(clock, FIRST, SECOND))
    for address in (FIRST, SECOND):
        room[address].before = unreachable()
    with pytest.raises(ConnectionFailed, match="None of the 2 servers"):
        chosen(pool(clock, FIRST, SECOND))


def test_the_reasons_of_all_servers_find_room_in_the_sentence(clock: FakeClock, room: Room) -> None:
    for address in (FIRST, SECOND, THIRD):
        room[address].before = BadRequest("It failed", f"{address} {'x' * 600}")
    with pytest.raises(BadRequest) as failure:
        chosen(pool(clock))
    assert [(len(reason), reason[-1]) for reason in failure.value.said.split("; ")] == [(198, "…")] * 3


def test_a_server_has_three_seconds_to_answer_or_what_is_left_of_the_job(clock: FakeClock, room: Room) -> None:
    backend = pool(clock, FIRST, SECOND)
    backend.invoke(asked())
    assert (room[FIRST].left, room[SECOND].left, room[FIRST].afresh) == (3.0, 3.0, 0)
    backend.invoke(replace(asked(), timeout=2))
    assert room[FIRST].left == 2.0
    assert ASK_SECONDS == 3.0


def test_what_is_known_of_a_server_is_forgotten_after_a_day_without_use(clock: FakeClock) -> None:
    backend = pool(clock, FIRST)
    assert isinstance(backend, RoomBackend)
    record = record_of(backend)
    assert record.used == 0.0
    for _ in range(2):
        clock.time += 24 * 3600 - 1
        assert record_of(backend) is record
    clock.time += 24 * 3600
    assert record_of(backend) is not record


@pytest.mark.parametrize(
    ("address", "shown"), [("gpu1", "gpu1"), ("http://me:secret@gpu1:1/x", "gpu1:1"), ("http:///x", "http:///x")]
)
def test_an_address_is_shown_without_its_scheme_and_login(clock: FakeClock, address: str, shown: str) -> None:
    backend = pool(clock, address)
    assert isinstance(backend, RoomBackend)
    assert backend.shown == shown


def test_a_busy_server_is_not_left_out_and_names_the_class(clock: FakeClock, room: Room) -> None:
    busy = RateLimited("Generating failed", "HTTP 429", "Wait")
    busy.undone = True
    room[FIRST].given = busy
    room[SECOND].told = ServerUnavailable("Asking failed", "HTTP 500", "See the log")
    with pytest.raises(RateLimited):
        chosen(pool(clock, FIRST, SECOND))
    room[FIRST].given = None
    assert chosen(pool(clock, FIRST, SECOND)) == FIRST


def test_a_passed_deadline_ends_the_search(clock: FakeClock, room: Room) -> None:
    def slow() -> None:
        clock.time += 100

    room[FIRST].pause = slow
    room[FIRST].given = unreachable()
    with pytest.raises(ConnectionFailed):
        chosen(pool(clock, FIRST, SECOND))
    assert room[SECOND].jobs == 0


# Jobs


def test_a_job_stays_at_its_server_in_every_process(clock: FakeClock, room: Room) -> None:
    room[FIRST].standing = Standing(waiting=9)
    backend = pool(clock, FIRST, SECOND, kind=RoomJobs)
    assert isinstance(backend, JobServerPool)
    job = backend.submit(asked())
    assert job == {"server": 1}
    room[FIRST].standing = Standing(loaded=True)
    other = pool(clock, FIRST, SECOND, kind=RoomJobs)
    assert isinstance(other, JobServerPool)
    seen = other.check(job)
    assert isinstance(seen, ImageResult)
    other.cancel(job)
    assert seen.notices == (SECOND,)
    assert (room[FIRST].checked, room[SECOND].checked) == (0, 101)


def test_a_job_whose_server_left_the_list_is_told(clock: FakeClock) -> None:
    backend = pool(clock, FIRST, SECOND, kind=RoomJobs)
    assert isinstance(backend, JobServerPool)
    for place in (2, "1"):
        with pytest.raises(ServerUnavailable) as failure:
            backend.check({"server": place})
        assert str(failure.value) == (
            "The job of m was given to a server that is no longer in the list. Run it again; put new addresses at the end of "
            "“Base URL” (base_url) in the model's settings, and take one out when its jobs have ended."
        )


@pytest.mark.parametrize(
    ("question", "about"), [("finished_part", ()), ("give_up", (Running("step 3"),)), ("watch", ("until",))]
)
def test_the_server_of_a_job_answers_what_is_asked_about_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, question: str, about: tuple[object, ...]
) -> None:
    both = pool(clock, FIRST, SECOND, kind=RoomJobs)
    assert isinstance(both, JobServerPool)
    for place, member in enumerate(both.members):
        monkeypatch.setattr(member, question, lambda *given, place=place, **more: (place, *given, *more.items()))
    more = {"started": 5.0} if question == "watch" else {}
    for job, place in (({"server": 1}, 1), ({"server": 0}, 0), ({}, 0)):
        assert getattr(both, question)(job, *about, **more) == (place, job, *about, *more.items())


@pytest.mark.parametrize("step", ["submit", "check"])
def test_a_server_works_as_the_call_was_set_up(clock: FakeClock, room: Room, step: str) -> None:
    room[FIRST].standing = Standing(waiting=9)
    both = pool(clock, FIRST, SECOND, kind=RoomJobs)
    assert isinstance(both, JobServerPool)
    told: list[Running] = []
    both.on_progress, both.more_time, both.ends, both.in_one_call = told.append, "Wait", clock.now() + 100, True
    if step == "submit":
        both.submit(asked())
    else:
        both.check({"server": 1})
    member = both.members[1]
    assert isinstance(member, RoomJobs)
    assert (member.more_time, member.ends, member.in_one_call) == ("Wait", clock.now() + 100, True)
    member.on_progress(Running("step 3"))
    assert told == [Running("step 3")]


def test_one_of_several_versions_is_the_servers_to_name(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoomBackend, "version", lambda *_: "canary")
    for backend in (pool(clock, FIRST), pool(clock, FIRST, SECOND)):
        assert version_of(backend, asked()) == "canary"
    assert version_of(StubBackend(clock), asked()) is None


@pytest.mark.parametrize("count", [1, 2, 4])
def test_jobs_that_come_at_once_are_spread_evenly(clock: FakeClock, room: Room, count: int) -> None:
    """Queue reports are older than the jobs that others hand over meanwhile; 1/N of the list goes to each of N servers."""
    addresses = [f"http://gpu{number}:1" for number in range(count)]
    taken: Counter[str] = Counter()
    for address in addresses:
        room[address].pause = lambda: gevent.sleep(0)

    def work() -> None:
        for address in addresses:  # the report of a server: what it was given so far
            room[address].standing = Standing(waiting=room[address].jobs, loaded=room[address].jobs > 0)
        taken[chosen(pool(clock, *addresses))] += 1

    gevent.joinall([gevent.spawn(work) for _ in range(40)], raise_error=True)
    assert sorted(taken.values()) == [40 // count] * count


# Forms


def test_a_form_offers_the_choices_of_all_servers(clock: FakeClock, room: Room) -> None:
    rule = RULES["checkpoint"]
    room[FIRST].form = (rule.narrowed(options=("a", "b")),)
    room[SECOND].form = (rule.narrowed(options=("b", "c")),)
    room[THIRD].told = unreachable()
    (form,) = pool(clock).live_form(Deadline.after(clock, 3))
    assert form.options == ("a", "b", "c")


def test_a_form_has_the_parameters_of_the_first_server_that_answers(clock: FakeClock, room: Room) -> None:
    models, styles = (RULES[name].narrowed(options=("a", "b"), default="a") for name in ("checkpoint", "style_preset"))
    room[FIRST].told = unreachable()
    room[SECOND].form, room[THIRD].form = (RULES["steps"], models), (models.narrowed(options=("c",)), styles)
    form = pool(clock).live_form(Deadline.after(clock, 3))
    assert form == (RULES["steps"], models.narrowed(options=("a", "b", "c"), default="a"))
    for address in (SECOND, THIRD):
        room[address].told = unreachable()
    assert pool(clock).live_form(Deadline.after(clock, 3)) == ()


def test_what_a_request_depends_on_is_learned_from_a_server_that_answers(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    backend = pool(clock, FIRST, SECOND)
    backend.learn(Deadline.after(clock, 30))
    room[SECOND].told = unreachable()
    with pytest.raises(ConnectionFailed, match="None of the 2 servers"):
        backend.learn(Deadline.after(clock, 30))


def test_each_server_that_is_learned_from_has_its_share_of_the_time(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = room[SECOND].told = unreachable()
    backend = pool(clock)
    assert isinstance(backend, ServerPool)
    backend.learn(Deadline.after(clock, 30))
    assert [room[address].left for address in (FIRST, SECOND, THIRD)] == [10.0, 15.0, 30.0]
    assert backend.lead is backend.members[2]


def test_the_server_that_failed_last_is_asked_last(clock: FakeClock, room: Room) -> None:
    room[FIRST].told = unreachable()
    backend = pool(clock, FIRST, SECOND)
    backend.learn(Deadline.after(clock, 30))
    room[FIRST].told = None
    backend.learn(Deadline.after(clock, 30))
    assert isinstance(backend, CallServerPool)
    assert [member.model.access.base_url for member in backend.chooser.in_order()] == [SECOND, FIRST]


def test_a_form_comes_from_the_one_server_that_answers(clock: FakeClock, room: Room) -> None:
    room[FIRST].form = (RULES["checkpoint"].narrowed(options=("a", "b")),)
    room[SECOND].told = unreachable()
    assert pool(clock, FIRST, SECOND).live_form(Deadline.after(clock, 3)) == room[FIRST].form


def test_saving_probes_every_address_and_names_the_one_that_fails(clock: FakeClock, room: Room) -> None:
    room[SECOND].told = unreachable()
    told: list[str] = []
    with pytest.raises(ConnectionFailed) as failure:
        told.extend(pool(clock).probe())
    assert told == ["gpu1:1: it works", "gpu3:3: it works"]
    assert str(failure.value) == (
        "1 of the 3 addresses in “Base URL” (base_url) in the model's settings cannot be used: gpu2:2: Generating failed: gpu "
        "could not be reached. Check the address."
    )
    room[SECOND].told = None
    assert pool(clock).check_access() == ["it works"] * 3
    assert list(pool(clock).probe()) == [f"gpu{n}:{n}: it works" for n in (1, 2, 3)]
