"""The cache through the pipeline: equal requests cost once, by call, by polling and at the same time."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import gevent
import pytest
from dify_plugin.entities.model.message import ImagePromptMessageContent

from models import stages
from models.backends.base import Backend, Capabilities
from models.backends.errors import BadRequest, ConnectionFailed, ServerUnavailable
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, Kept, Price
from models.output.delivery import usage_of
from models.pipeline import Asked, Call, Finished, Waiting
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.audit import Receipt
from models.stages.cache import flights, keeping, lookup
from models.stages.cache.entries import decoded_neighbours
from models.stages.cache.keeping import can_be_cached
from models.stages.cache.key import account_name
from models.stages.cache.leases import leases_of
from models.stages.cache.note import CacheNote, dumped
from models.stages.cache.shelf import shelf_of
from tests.asking import carried
from tests.fakes import FakeClock, image_file
from tests.servers.object_store import ObjectStoreServer
from tests.servers.scripted import free_port
from tests.stubs import StubBackend, StubJobs
from tests.video_files import mp4

PRICE = Price(Decimal("0.035"), "USD")


class PaidBackend(StubBackend):
    """Costs 0.035 USD per image, and draws another image for each request. `troubles` are raised first, in order."""

    def __init__(self, clock: FakeClock, *, seconds: float = 0.0, troubles: tuple[Exception, ...] = ()) -> None:
        super().__init__(clock)
        self.seconds = seconds
        self.troubles = list(troubles)

    @property
    def price_per_image(self) -> Price:
        return PRICE

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.asked.append(request)
        gevent.sleep(self.seconds)
        if self.troubles:
            raise self.troubles.pop(0)
        size = 16 + len(self.asked)
        images = [
            GeneratedImage(image_file(size, 16), url="https://service.example/1", seed=seed) for seed in request.seeds
        ]
        return self.result(request, images, [f"Image of request {len(self.asked)}."])


@pytest.fixture(autouse=True)
def _no_flights() -> None:
    """What an earlier test left in the air."""
    flights._awaited.clear()
    flights._leading.clear()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"IMAGE_GENERATION_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def backend(clock: FakeClock) -> PaidBackend:
    return PaidBackend(clock)


@pytest.fixture
def ask(environment: dict[str, str], backend: PaidBackend) -> Any:
    """One call; `form` are fields of the provider's form."""

    def call(
        prompt: str = "a fox", form: dict[str, str] | None = None, by: Backend | None = None, **parameters: object
    ) -> Finished:
        settings = Settings(form or {}, environment)
        return Call(by or backend, settings).generate(Asked(Conversation(prompt), {"cache": "exact", **parameters}))

    return call


def size_of(done: Finished) -> int:
    return done.result.images[0].size[0]


def test_an_equal_request_gets_the_same_image_at_no_cost(ask: Any, backend: PaidBackend, clock: FakeClock) -> None:
    first = ask()
    clock.time += 180
    again = ask()
    assert len(backend.asked) == 1
    assert again.result.images[0].data == first.result.images[0].data
    assert again.result.images[0].seed == first.result.images[0].seed
    assert (first.result.cached, again.result.cached) == (False, True)
    assert again.result.notices == ("Image of request 1.", "Taken from the cache, made 3 minutes ago; 0.035 USD saved.")
    usage = usage_of(again.result, again.duration)
    assert (usage.total_price, usage.currency) == (Decimal(0), "USD")
    assert first.result.price == PRICE


def test_without_the_parameter_every_request_is_made(ask: Any, backend: PaidBackend) -> None:
    assert {size_of(ask(cache="off")) for _ in range(3)} == {17, 18, 19}


def test_the_seed_counts_as_it_was_asked_for(ask: Any, backend: PaidBackend) -> None:
    """Two drawn seeds are equal requests, two asked ones are not."""
    assert [size_of(ask()), size_of(ask(seed=7)), size_of(ask(seed=8)), size_of(ask(seed=7)), size_of(ask())] == [
        *(17, 18, 19, 18, 17)
    ]


def test_what_changes_no_image_does_not_count(ask: Any, backend: PaidBackend) -> None:
    ask(details=True, timeout=100)
    assert ask(timeout=50).result.cached
    assert not ask(output_format="webp").result.cached
    assert ask(output_format="webp").result.images[0].mime_type == "image/webp"


@pytest.mark.parametrize(("age", "cached"), [(1799.0, True), (1800.0, False)])
def test_a_shorter_age_counts_for_what_is_kept_already(ask: Any, clock: FakeClock, age: float, cached: bool) -> None:
    ask()
    clock.time += age
    assert ask(form={"limits": "cache 30m"}).result.cached is cached


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 seconds"),
        (1.0, "1 second"),
        (59.9, "59 seconds"),
        (60.0, "1 minute"),
        (7199.0, "1 hour"),
        (7200.0, "2 hours"),
        (86_399.0, "23 hours"),
        (86_400.0, "1 day"),
        (200_000.0, "2 days"),
    ],
)
def test_an_age_is_told_in_the_largest_unit(seconds: float, words: str) -> None:
    assert lookup._duration(seconds) == words


def test_an_entry_ends_when_the_owner_says_so(ask: Any, backend: PaidBackend, clock: FakeClock) -> None:
    ask()
    clock.time += 23 * 3600
    assert not ask(form={"limits": "cache 30m, account a"}).result.cached
    assert ask().result.cached
    clock.time += 3600
    assert not ask().result.cached
    form = {"limits": "cache 2d, account a"}
    ask(form=form)
    clock.time += 47 * 3600
    assert ask(form=form).result.cached


def test_accounts_never_see_each_others_entries(ask: Any, backend: PaidBackend) -> None:
    keys = [{"stability_api_key": "sk-one"}, {"stability_api_key": "sk-two"}, {"limits": "account shop"}]
    assert [ask(form=form).result.cached for form in keys] == [False, False, False]
    assert [ask(form=form).result.cached for form in keys] == [True, True, True]
    assert ask(form={"limits": "account shop", "stability_api_key": "sk-three"}).result.cached


def test_several_images_come_back_whole(ask: Any, backend: PaidBackend) -> None:
    first, again = ask(n=3), ask(n=3)
    assert again.result.cached
    assert [image.seed for image in again.result.images] == [image.seed for image in first.result.images]
    assert again.result.images[0].url is None


def test_a_part_of_the_images_is_no_answer_for_another_request(
    ask: Any, backend: PaidBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PaidBackend._generate

    def partly(self: PaidBackend, request: ImageRequest, deadline: Deadline) -> ImageResult:
        made = whole(self, request, deadline)
        return replace(made, images=made.images[:-1])

    monkeypatch.setattr(PaidBackend, "_generate", partly)
    ask(n=2)
    assert not ask(n=2).result.cached


def test_equal_requests_in_flight_are_made_once(ask: Any, clock: FakeClock) -> None:
    backend = PaidBackend(clock, seconds=0.1)
    calls = [gevent.spawn(ask, by=backend) for _ in range(20)]
    done = [one.get(timeout=20) for one in calls]
    assert len(backend.asked) == 1
    assert sum(one.result.cached for one in done) == 19
    assert {size_of(one) for one in done} == {17}


def test_who_waited_for_a_failure_makes_the_image(ask: Any, clock: FakeClock) -> None:
    trouble = ServerUnavailable("Generating failed", "out of memory")
    backend = PaidBackend(clock, seconds=0.05, troubles=(trouble,))
    calls = [gevent.spawn(ask, by=backend) for _ in range(5)]
    gevent.joinall(calls, timeout=20)
    assert [type(one.exception) for one in calls].count(ServerUnavailable) == 1
    assert len(backend.asked) == 2


def test_where_every_one_fails_nobody_waits_for_the_others(ask: Any, clock: FakeClock) -> None:
    """A refused prompt is refused for all; in turns it would take as many times as long."""
    backend = PaidBackend(clock, seconds=0.05, troubles=tuple(BadRequest("refused") for _ in range(9)))
    calls = [gevent.spawn(ask, by=backend) for _ in range(9)]
    gevent.joinall(calls, timeout=20)
    assert [type(one.exception) for one in calls] == [BadRequest] * 9
    assert not flights._leading


def test_a_leader_that_died_holds_nobody_up(
    ask: Any, backend: PaidBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is renewed by nobody and ends."""
    monkeypatch.setattr(flights, "lead", lambda *_: None)
    monkeypatch.setattr("models.stages.cache.lookup.lead", lambda *_: None)
    monkeypatch.setattr(stages, "release", lambda *_: None)
    dead = PaidBackend(clock, troubles=(ConnectionFailed("killed"),))
    with pytest.raises(ConnectionFailed):
        ask(by=dead)
    waiting = gevent.spawn(ask)
    gevent.sleep(0.1)
    assert not backend.asked
    clock.time += flights.LEASE + 1
    assert size_of(waiting.get(timeout=10)) == 17


def until(happened: Callable[[], object]) -> None:
    with gevent.Timeout(20):
        while not happened():
            gevent.sleep(0.01)


def test_a_follower_whose_time_ends_says_so(ask: Any, clock: FakeClock) -> None:
    slow = PaidBackend(clock, seconds=60)
    leader = gevent.spawn(ask, by=slow)
    until(lambda: slow.asked)
    follower = gevent.spawn(ask, timeout=1)
    until(lambda: flights._awaited)
    clock.time += 2
    with pytest.raises(ConnectionFailed, match="Waiting for an equal request failed: the time limit"):
        follower.get(timeout=20)
    leader.kill()


def test_a_follower_that_takes_over_has_the_rest_of_its_time(ask: Any, backend: PaidBackend, clock: FakeClock) -> None:
    slow = PaidBackend(clock, seconds=1, troubles=(ServerUnavailable("x"),))
    leader = gevent.spawn(ask, by=slow)
    until(lambda: slow.asked)
    follower = gevent.spawn(ask, timeout=300)
    until(lambda: flights._awaited)
    clock.time += 15
    assert size_of(follower.get(timeout=20)) == 17
    assert isinstance(leader.exception, ServerUnavailable)
    assert backend.asked[0].timeout == 285


def test_the_audit_line_says_that_it_was_cached(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts: list[Receipt] = []
    monkeypatch.setattr(stages, "observers", lambda _: [receipts.append])
    ask()
    ask()
    assert [(receipt.cached, receipt.price) for receipt in receipts] == [(False, "0.035"), (True, "0")]


def test_a_cache_that_fails_costs_no_image(
    ask: Any, backend: PaidBackend, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    environment["IMAGE_GENERATION_STATE_DIR"] = str(tmp_path / "file")
    done = ask()
    assert size_of(done) == 17
    assert "The cache failed: the file" in done.result.notices[0]
    environment["IMAGE_GENERATION_STATE_DIR"] = str(tmp_path / "other")
    down = {"redis_url": f"redis://:secret@127.0.0.1:{free_port()}/0"}
    done = ask(form=down)
    assert size_of(done) == 18
    assert "The cache failed: Redis says" in done.result.notices[0]
    assert "secret" not in done.result.notices[0]


def test_a_file_that_was_changed_is_no_hit(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    monkeypatch.setattr("models.stages.cache.local.LocalState.get", lambda self, name: b'{"made": 1}\n' + image_file())
    assert not ask().result.cached


# --- with the owner's storage ---


def test_entries_are_in_the_storage_and_a_hit_is_not_stored_again(
    ask: Any, backend: PaidBackend, s3: ObjectStoreServer
) -> None:
    bucket = s3.bucket()
    form = {"storage_url": s3.storage_url(bucket)}
    first = ask(form=form)
    names = images_in(s3, bucket)
    assert len([name for name in names if name.startswith("kept/here/cache/")]) == 1
    assert len(names) == 2
    again = ask(form=form)
    assert again.result.cached
    assert images_in(s3, bucket) == names
    assert again.result.images[0].kept
    assert first.result.images[0].kept
    assert again.result.images[0].kept.key == first.result.images[0].kept.key


def images_in(s3: ObjectStoreServer, bucket: str) -> list[str]:
    return [name for name in s3.names(bucket) if "/audit/" not in name]


def test_a_storage_that_cannot_be_read_is_told(ask: Any, backend: PaidBackend) -> None:
    done = ask(form={"storage_url": "s3://nothing"})
    assert size_of(done) == 17
    assert any(notice.startswith("The cache failed: ") for notice in done.result.notices)


# --- polling ---


class CountedJobs(StubJobs):
    """Counts the jobs, each of 5 seconds."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, takes=5)
        self.able = Capabilities()
        self.submitted: list[ImageRequest] = []

    @property
    def capabilities(self) -> Capabilities:
        return self.able

    def _submit(self, request: ImageRequest, deadline: Deadline) -> Any:
        self.submitted.append(request)
        return super()._submit(request, deadline)


def start(
    backend: CountedJobs, environment: dict[str, str], conversation: Conversation | None = None
) -> Waiting | Finished:
    parameters = {"cache": "exact", "timeout": 300}
    asked = Asked(conversation or Conversation("a fox"), parameters)
    return Call(backend, Settings({}, environment)).start(asked)


def check(backend: CountedJobs, environment: dict[str, str], waiting: Waiting | Finished) -> Waiting | Finished:
    assert isinstance(waiting, Waiting)
    return Call(backend, Settings({}, environment)).check(json.loads(json.dumps(waiting.state)))


def test_a_polled_follower_waits_in_its_state(environment: dict[str, str], clock: FakeClock) -> None:
    backend = CountedJobs(clock)
    leader, follower = start(backend, environment), start(backend, environment)
    assert len(backend.submitted) == 1
    began = clock.time
    follower = check(backend, environment, follower)
    assert clock.time == began
    clock.time += 6
    done = check(backend, environment, leader)
    assert isinstance(done, Finished)
    followed = check(backend, environment, follower)
    assert isinstance(followed, Finished)
    assert (done.result.cached, followed.result.cached) == (False, True)
    assert len(backend.submitted) == 1


def test_a_stopped_polled_leader_holds_nobody_up(environment: dict[str, str], clock: FakeClock) -> None:
    """Dify tells nobody that a run was stopped: its checks just end. A long job renews its lease with every check."""
    backend = CountedJobs(clock)
    backend.takes = 250
    leader, follower = start(backend, environment), start(backend, environment)
    for _ in range(5):
        clock.time += 30
        leader, follower = check(backend, environment, leader), check(backend, environment, follower)
    assert len(backend.submitted) == 1
    clock.time += 76
    follower = check(backend, environment, follower)
    assert len(backend.submitted) == 2
    clock.time += 250
    assert isinstance(check(backend, environment, follower), Finished)


def test_a_failed_polled_leader_lets_go(environment: dict[str, str], clock: FakeClock) -> None:
    backend = CountedJobs(clock)
    leader, follower = start(backend, environment), start(backend, environment)
    backend.troubles = [ServerUnavailable("Generating failed", "out of memory")]
    with pytest.raises(ServerUnavailable):
        check(backend, environment, leader)
    follower = check(backend, environment, follower)
    assert len(backend.submitted) == 2
    clock.time += 6
    assert isinstance(check(backend, environment, follower), Finished)


def test_a_polled_followers_time_ends(environment: dict[str, str], clock: FakeClock) -> None:
    backend = CountedJobs(clock)
    backend.takes = 10_000
    leader, follower = start(backend, environment), start(backend, environment)
    for _ in range(9):
        clock.time += 30
        leader, follower = check(backend, environment, leader), check(backend, environment, follower)
    clock.time += 31
    with pytest.raises(ConnectionFailed, match="Waiting for an equal request failed"):
        check(backend, environment, follower)


def test_input_images_of_a_polled_follower_are_not_in_its_state(environment: dict[str, str], clock: FakeClock) -> None:
    backend = CountedJobs(clock)
    backend.able = Capabilities(images=1, mask=True)
    photo = base64.b64encode(image_file(32, 32)).decode()
    part = ImagePromptMessageContent(format="png", mime_type="image/png", base64_data=photo, filename="photo.png")
    conversation = Conversation("make it red", images=(part,))
    leader, follower = start(backend, environment, conversation), start(backend, environment, conversation)
    assert isinstance(follower, Waiting)
    assert photo[:60] not in json.dumps(follower.state)
    backend.troubles = [ServerUnavailable("Generating failed", "out of memory")]
    with pytest.raises(ServerUnavailable):
        check(backend, environment, leader)
    check(backend, environment, follower)
    first, second = backend.submitted
    assert second.images == first.images
    assert second.prompt == "make it red"


def test_a_state_of_another_version_is_told(environment: dict[str, str], clock: FakeClock) -> None:
    backend = CountedJobs(clock)
    start(backend, environment)
    follower = start(backend, environment)
    assert isinstance(follower, Waiting)
    state = json.loads(json.dumps(follower.state))
    state["carried"]["notes"]["cache"]["request"] = {"words": "a fox"}
    with pytest.raises(ServerUnavailable, match="Run it again"):
        Call(backend, Settings({}, environment)).check(state)


def test_a_video_is_cached_only_where_it_is_kept() -> None:
    """The service's address ends before the entry, and most videos have no room in an answer."""
    image, video = GeneratedImage(image_file()), GeneratedImage(mp4(), url="https://service.example/1.mp4")
    result = ImageResult(images=(image, video), backend="b", model="m", prompt="p")
    assert not can_be_cached(result)
    kept = replace(video, kept=Kept("a.mp4", "https://cdn.example/a.mp4"))
    assert can_be_cached(replace(result, images=(image, kept)))


def test_a_resumed_request_has_its_mask_again(environment: dict[str, str], clock: FakeClock) -> None:
    settings, waiting = Settings({}, environment), carried()
    shelf = shelf_of(settings, account_name(settings), clock)
    for number, data in enumerate((b"image", b"mask")):
        shelf.put(lookup._input_name(waiting, number), data, 60.0)
    request = ImageRequest(model="m", prompt="a fox")
    inputs = [("image/png", "a.png"), ("image/png", "m.png")]
    note = CacheNote(name="e", model="m", n=1, told=[], request=dumped(request), inputs=inputs, has_mask=True)
    note.leave(waiting)
    resumed = lookup.resumed(settings, waiting, clock)
    assert resumed.images == (InputImage(b"image", "image/png", "a.png"),)
    assert resumed.mask == InputImage(b"mask", "image/png", "m.png")


def test_a_neighbour_made_again_replaces_itself_only(environment: dict[str, str], clock: FakeClock) -> None:
    shelf = shelf_of(Settings({}, environment), "account", clock)
    for name in ("a", "b", "a"):
        keeping._add_neighbour(shelf, CacheNote(name=name, model="m", n=1, told=[], near="n", vector=[1.0]), 60.0)
    assert [other.name for other in decoded_neighbours(shelf.get("n"))] == ["b", "a"]


@pytest.mark.parametrize(("cache", "renewed"), [("exact", True), ("off", False)])
def test_a_lease_is_renewed_and_released_where_the_cache_is_on(
    environment: dict[str, str], clock: FakeClock, cache: str, renewed: bool
) -> None:
    settings, polled = Settings({}, environment), carried()
    polled = replace(polled, options=replace(polled.options, cache=cache))
    CacheNote(name="e", model="m", n=1, told=[], leads=True).leave(polled)
    leases = leases_of(settings, clock)
    stages.renew(settings, polled, clock)
    assert leases.is_free("e") is not renewed
    leases.take("e", polled.receipt.id, 60.0)
    stages.release(settings, polled, clock)
    assert leases.is_free("e") is renewed
