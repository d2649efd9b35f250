"""The template of every backend: what it accepts, how long it waits, what it says."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from models.backends import base
from models.backends.base import Backend, Capabilities, Job, Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, ServerUnavailable
from models.backends.http import basic_auth, bearer_auth
from models.backends.partial import Partial
from models.backends.registry import BACKENDS, is_filled
from models.catalog import cards
from models.clock import Deadline, SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, Price
from models.settings import Access, Settings
from tests.asking import bound
from tests.fakes import FakeClock, image_file
from tests.stubs import StubBackend, StubJobs

PHOTO = InputImage(image_file(), "image/png")
MADE = GeneratedImage(image_file())


def request(**parts: Any) -> ImageRequest:
    return ImageRequest(**{"model": "stub-model", "prompt": "a fox", **parts})


@pytest.mark.parametrize(
    ("able", "count", "said"),
    [
        (Capabilities(), 0, ""),
        (Capabilities(), 1, "stub-model does not support input images. Send text only, or choose a model that edits images."),
        (Capabilities(images=2), 2, ""),
        (Capabilities(images=2), 3, "stub-model does not support 3 input images. Send at most 2."),
        (Capabilities(images=2, min_images=1), 1, ""),
        (Capabilities(images=2, min_images=1), 0, "stub-model edits images, and no image was sent. Switch on the node's vision"),
        (Capabilities(images=3, min_images=2), 1, "stub-model edits images, and no image was sent"),
    ],
)  # fmt: skip
def test_the_number_of_input_images_is_checked(clock: FakeClock, able: Capabilities, count: int, said: str) -> None:
    backend = StubBackend(clock, able=able)
    if not said:
        backend.check_inputs(request(images=(PHOTO,) * count))
        return
    with pytest.raises(BadRequest) as refusal:
        backend.check_inputs(request(images=(PHOTO,) * count))
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize("takes", [True, False])
def test_a_mask_needs_a_model_that_takes_one(clock: FakeClock, takes: bool) -> None:
    backend = StubBackend(clock, able=Capabilities(images=1, mask=takes))
    backend.check_inputs(request(images=(PHOTO,)))
    if takes:
        backend.check_inputs(request(images=(PHOTO,), mask=PHOTO))
        return
    with pytest.raises(
        BadRequest, match=r"does not support masks\. Describe the region in words, or choose a model with"
    ):
        backend.check_inputs(request(images=(PHOTO,), mask=PHOTO))


@pytest.mark.parametrize(
    ("seeds", "price", "gives"),
    [
        ((), None, set()),
        ((7,), None, {"seed"}),
        ((), Price(Decimal(1), "USD"), {"cost", "currency"}),
        ((7,), Price(Decimal(1), "USD"), {"seed", "cost", "currency"}),
    ],
)
def test_what_a_result_always_has_is_known_before(
    clock: FakeClock, seeds: tuple[int, ...], price: Price | None, gives: set[str]
) -> None:
    class Priced(StubBackend):
        price_per_image = price

    assert Priced(clock).gives(request(seeds=seeds)) == gives


def test_a_result_tells_what_is_missing(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    asked = request(n=2, notices=("before",))
    part = Partial((MADE,), (ServerUnavailable("It failed", "no"),))
    assert backend.result(asked, part, ["then"]).notices == (
        "before",
        "then",
        "1 of 2 images came back.",
        "It failed: no.",
    )
    plain = backend.result(asked, [MADE], ["then"], Price(Decimal(1), "USD"))
    assert (plain.notices, plain.price, plain.backend) == (("before", "then"), Price(Decimal(1), "USD"), "stub")
    assert (plain.model, plain.prompt, plain.images) == ("stub-model", "a fox", (MADE,))
    nothing: tuple[Partial | list[GeneratedImage], ...] = (Partial(), [])
    for empty in nothing:
        with pytest.raises(
            ServerUnavailable, match="Generating with Stub failed: the service reported success without an"
        ):
            backend.result(asked, empty)


# --- time ---


@pytest.mark.parametrize(("timeout", "left"), [(60.0, 60.0), (590.0, 590.0), (5000.0, 590.0)])
def test_a_job_of_one_call_ends_before_the_host_does(clock: FakeClock, timeout: float, left: float) -> None:
    backend = StubBackend(clock)
    assert backend.ends == clock.now() + 597
    seen: list[float] = []

    class Timed(StubBackend):
        def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
            seen.extend((deadline.remaining, self.ends - clock.now()))
            return super()._generate(request, deadline)

    Timed(clock).invoke(request(timeout=timeout))
    assert seen == [left, left + 7]


@pytest.mark.parametrize(("asked", "left"), [(5.0, 5.0), (597.0, 597.0), (1000.0, 597.0)])
def test_no_request_outlives_the_call(clock: FakeClock, asked: float, left: float) -> None:
    assert StubBackend(clock).within(asked).remaining == left


@pytest.mark.parametrize(
    ("elapsed", "pause"), [(0.0, 0.4), (60.0, 0.4), (75.0, 0.5), (150.0, 1.0), (225.0, 1.5), (1000.0, 1.5)]
)
def test_a_job_is_looked_at_more_rarely_with_its_age(clock: FakeClock, elapsed: float, pause: float) -> None:
    assert StubJobs(clock, takes=5).interval(elapsed) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("until", "look"), [(60.0, 10.0), (10.0, 10.0), (4.0, 4.0), (1.0, 1.0), (0.5, 1.0), (0.0, 5.0), (-5.0, 5.0)]
)
def test_a_look_ends_with_its_watch(clock: FakeClock, until: float, look: float) -> None:
    backend = StubJobs(clock, takes=5)
    assert backend.look_deadline().remaining == 10.0
    backend.begin_watch(Deadline.after(clock, until))
    assert backend.look_deadline().remaining == look
    assert backend.ends - clock.now() == (30.0 if until <= 0 else 597.0)


def test_a_watch_reports_each_state_and_pauses_in_between(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=1.0)
    seen: list[Running] = []
    backend.on_progress = seen.append
    job = backend.submit(request(timeout=60.0))
    assert isinstance(job, dict)
    result = backend.watch(job, Deadline.after(clock, 60), started=clock.now())
    assert isinstance(result, ImageResult)
    assert clock.pauses == [0.4] * len(seen)
    assert len(seen) == 3
    assert backend.tells_progress
    assert not StubBackend.tells_progress


def test_a_watch_ends_when_its_time_is_over(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100.0)
    job = backend.submit(request(timeout=60.0))
    assert isinstance(job, dict)
    began = clock.now()
    assert isinstance(backend.watch(job, Deadline.after(clock, 1.0), started=clock.now()), Running)
    assert clock.now() - began == pytest.approx(1.0)
    assert clock.pauses == pytest.approx([0.4, 0.4, 0.2])


def late(backend: StubJobs, seen: Running = Running()) -> str:  # noqa: B008
    with pytest.raises(ImageError) as failure:
        backend.give_up({}, seen)
    return str(failure.value)


def test_a_job_that_is_given_up_is_cancelled_and_told(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100.0)
    said = late(backend)
    assert said == (
        "Generating with Stub service failed: the time limit of the job has passed. "
        "Raise `timeout`, or request fewer or smaller images."
    )
    assert backend.cancelled == [{}]
    assert late(backend, Running("step 3/9")).startswith(
        "Generating with Stub service failed: the time limit of the job has passed; last known state: step 3/9."
    )
    backend.more_time = "Wait for it"
    assert late(backend).endswith("has passed. Wait for it.")


@pytest.mark.parametrize(("said", "words"), [("busy", "busy"), ("", "Cancelling failed")])
def test_a_job_that_cannot_be_cancelled_is_told(clock: FakeClock, said: str, words: str) -> None:
    class Stubborn(StubJobs):
        def cancel(self, job: Any) -> None:
            raise ConnectionFailed("Cancelling failed", said)

    assert f"has passed, and it could not be cancelled ({words})." in late(Stubborn(clock, takes=100.0))


def test_the_finished_part_of_a_job_is_delivered_with_the_reason(clock: FakeClock) -> None:
    part = ImageResult(images=(MADE,), backend="stub", model="m", prompt="x", notices=("one",))
    given = StubJobs(clock, takes=100.0, part=part).give_up({}, Running())
    assert given.images == (MADE,)
    assert given.notices[0] == "one"
    assert given.notices[1].startswith("Generating with Stub service failed: the time limit of the job has passed.")

    class Broken(StubJobs):
        def finished_part(self, job: Any) -> ImageResult | None:
            raise ServerUnavailable("It failed")

    assert "the time limit" in late(Broken(clock, takes=100.0))


# --- all services ---


@pytest.mark.parametrize("name", BACKENDS)
def test_a_service_without_its_fields_is_not_filled(name: str) -> None:
    kind = BACKENDS[name]
    empty, full = Settings({}, {}), Settings({f"{kind.prefix}_{field}": "x" for field in kind.required}, {})
    assert is_filled(name, full)
    assert is_filled(name, empty) is (not kind.required)


FILLED = [name for name, kind in BACKENDS.items() if kind.required and name != "openai_images"]
"""Those whose fields do not depend on the dialect."""


def first_model(name: str) -> Backend:
    model = next((card.model for card in cards().values() if card.backend == name), None)
    return bound(model, {}) if model else bound("mine", {"backend": name})


@pytest.mark.parametrize("name", FILLED)
def test_a_request_without_the_required_fields_names_the_first(name: str) -> None:
    backend = first_model(name)
    with pytest.raises(BadRequest) as refusal:
        backend.require_access()
    field = backend.model.access.where(backend.required[0])
    assert str(refusal.value) == f"{backend.model.name} needs {backend.title}. Fill {field}."


class Noting(StubBackend):
    def check_access(self) -> Sequence[str]:
        return ("two",)

    def findings(self) -> Sequence[str]:
        return ("one",)


def test_a_probe_tells_findings_and_notices(clock: FakeClock) -> None:
    assert list(Noting(clock).probe()) == ["one", "two"]
    assert base.PROBE_SECONDS == 9.0


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(600, base.LOOK_SECONDS), (10, 10), (4, 4), (0.3, base.LEAST_LOOK_SECONDS), (0, base.LAST_LOOK_SECONDS)],
)
def test_a_look_at_a_job_ends_with_its_watch(clock: FakeClock, left: float, seconds: float) -> None:
    """The last look, when the time is over, has a little time of its own."""
    seen: list[float] = []

    class Watched(StubJobs):
        def check(self, job: Job) -> Running | ImageResult:
            seen.append(self.look_deadline().remaining)
            return super().check(job)

    job: Job = {"ends": clock.now(), "prompt": ""}
    Watched(clock, takes=0).watch(job, Deadline.after(clock, left), started=clock.now())
    assert seen == [pytest.approx(seconds)]


def test_the_call_in_which_the_time_is_over_ends_soon(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=0)
    backend.begin_watch(Deadline.after(clock, 1))
    assert backend.ends == clock.now() + base.SYNC_LIMIT + base.RESERVE
    backend.begin_watch(Deadline.after(clock, 0))
    assert backend.ends == clock.now() + base.LAST_CALL_SECONDS
    clock.sleep(base.LAST_CALL_SECONDS - 1)
    backend.begin_watch(Deadline.after(clock, 0))
    assert backend.ends == clock.now() + 1


def test_a_watch_begins_before_the_first_look(clock: FakeClock) -> None:
    """Also in a call that has lasted some time."""
    backend = StubJobs(clock, takes=0)
    clock.sleep(300)
    backend.watch({"ends": 0, "prompt": ""}, Deadline.after(clock, 8), started=clock.now())
    assert backend.look_deadline().remaining == pytest.approx(8)


class Located(StubBackend):
    home = "https://api.stub.example"

    def headers(self) -> dict[str, str]:
        return {"X-Client": "plugin"}


def located(clock: FakeClock, **form: Any) -> Backend:
    backend = Located(clock)
    backend.model = replace(backend.model, access=Access(prefix="stub", **form))
    return backend


@pytest.mark.parametrize(
    ("form", "login"),
    [
        ({"api_key": "k", "username": "u", "password": "p"}, bearer_auth("k")),
        ({"username": "u", "password": "p"}, basic_auth("u", "p")),
        ({"base_url": "https://a:b@h"}, basic_auth("a", "b")),
        ({"base_url": "https://a:b@h", "username": "u"}, basic_auth("u", "b")),
        ({"base_url": "https://a:b@h", "password": "p"}, basic_auth("a", "p")),
        ({}, {}),
    ],
)
def test_the_login_of_the_form_wins_over_that_of_the_address(
    clock: FakeClock, form: dict[str, str], login: dict[str, str]
) -> None:
    assert located(clock, **form).service.headers == {"X-Client": "plugin", **login}


def test_the_service_is_at_the_address_of_the_form_or_at_home(clock: FakeClock) -> None:
    assert located(clock).service.base_url == "https://api.stub.example"
    named = located(clock, base_url="gpu:7860").service
    assert (named.base_url, named.name, named.secrets) == ("http://gpu:7860", "Stub", ())
    secret = located(clock, base_url="http://a:hidden@gpu").service
    assert (secret.base_url, secret.secrets) == ("http://gpu", ("hidden",))


def test_a_job_is_waited_for_in_one_call_or_checked_by_others(clock: FakeClock) -> None:
    polled, waited = StubJobs(clock, takes=0), StubJobs(clock, takes=0)
    assert not polled.free_to_cancel
    polled.submit(request(timeout=60.0))
    waited.invoke(request(timeout=60.0))
    assert (polled.in_one_call, waited.in_one_call) == (False, True)


def test_a_model_without_a_card_has_no_price_and_no_bounds(clock: FakeClock) -> None:
    plain = StubBackend(clock)
    assert (Backend.rules(plain), Backend.sizes(plain, request()), Backend.seeds(plain, request())) == ((), None, None)
    assert plain.price_per_image is None
    assert plain.needs_prompt({})
    assert (plain.findings(), plain.live_form(plain.within(1)), plain.more_time) == ((), plain.rules(), "")
    assert Capabilities() == Capabilities(
        images=0, min_images=0, mask=False, second_image="mask", alpha_is_mask=False, links=False
    )


def test_a_model_is_bound_by_its_name_or_the_one_in_its_form() -> None:
    assert bound("mine", {"backend": "comfyui"}).model.remote == "mine"
    given = bound("mine", {"backend": "openai_images", "remote_model": "gpt-image-1"})
    assert (given.model.name, given.model.remote) == ("mine", "gpt-image-1")
    assert isinstance(given.clock, SystemClock)


LOST = ConnectionFailed("Asking failed", "the connection was lost", transient=True)


def test_a_watch_goes_on_after_an_error_that_passes(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100, troubles=[LOST])
    job = backend.submit(request(timeout=200.0))
    assert isinstance(job, dict)
    assert isinstance(backend.watch(job, Deadline.after(clock, 200), started=clock.now()), ImageResult)


def test_a_watch_ends_in_an_outage_and_with_a_lasting_error(clock: FakeClock) -> None:
    seen: list[Running] = []
    backend = StubJobs(clock, takes=500, troubles=[LOST] * 500)
    backend.on_progress = seen.append
    began = clock.now()
    job = backend.submit(request(timeout=500.0))
    assert isinstance(job, dict)
    assert backend.watch(job, Deadline.after(clock, 500), started=began) == Running()
    assert clock.now() - began == pytest.approx(60, abs=1)
    assert set(seen) == {Running()}
    with pytest.raises(ConnectionFailed, match="the state of the job could not be read"):
        backend.give_up(job, Running())
    refused = StubJobs(clock, takes=500, troubles=[BadRequest("Asking failed")])
    with pytest.raises(BadRequest):
        refused.watch(job, Deadline.after(clock, 500), started=began)


def test_the_pauses_of_a_watch_grow_with_the_age_of_the_job(clock: FakeClock) -> None:
    """Also where another call has started it."""
    backend = StubJobs(clock, takes=1.0)
    job = backend.submit(request(timeout=60.0))
    assert isinstance(job, dict)
    backend.watch(job, Deadline.after(clock, 60), started=clock.now() - 150)
    assert clock.pauses[0] == 1.0
