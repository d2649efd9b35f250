"""The audit log: one line per request with the contract's fields for every outcome, and never a key."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.entities import GeneratedImage, ImageRequest, ImageResult, Kept, Price
from models.pipeline import Asked, Call, Finished, Waiting
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.audit import AuditLog, Receipt, record
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.stubs import StubBackend

FIELDS = {
    *("id", "time", "user", "model", "backend", "answered_by", "seed", "width", "height", "n", "price", "currency"),
    *("seconds", "outcome", "error_class", "cached", "prompt"),
}
FOX = Conversation("a red fox")


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Captures the plugin's logger, which does not propagate."""
    logger = logging.getLogger("image_generation")
    caplog.set_level(logging.INFO, "image_generation")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    said = [record.getMessage() for record in caplog.records]
    return [json.loads(line.removeprefix("image_request ")) for line in said if line.startswith("image_request ")]


def the_line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (line,) = lines(caplog)
    return line


def call(clock: FakeClock, **values: str) -> Call:
    return Call.of("preview", values, "user-7", clock)


def stubbed(backend: StubBackend, **values: str) -> Call:
    return Call(backend, Settings(values, {}), "user-7")


def test_a_success_is_logged_with_every_field(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    call(clock).generate(Asked(FOX, {"seed": 42, "width": 256, "height": 128, "n": 2}))
    line = the_line(caplog)
    assert set(line) == FIELDS
    assert {name: line[name] for name in ("user", "model", "backend", "answered_by", "outcome", "cached")} == {
        "user": "user-7",
        "model": "preview",
        "backend": "preview",
        "answered_by": "preview",
        "outcome": "succeeded",
        "cached": False,
    }
    assert (line["seed"], line["width"], line["height"], line["n"]) == ("42", 256, 128, 2)
    assert (line["price"], line["currency"], line["error_class"]) == ("0", "USD", None)
    assert line["time"] == clock.time


@pytest.mark.parametrize("limits", ["", "audit hash"])
def test_a_prompt_is_logged_as_its_hash(limits: str, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    call(clock, limits=limits).generate(Asked(FOX, {}))
    assert the_line(caplog)["prompt"] == f"sha256:{hashlib.sha256(b'a red fox').hexdigest()}"
    assert "a red fox" not in caplog.text


def test_a_prompt_is_logged_as_text_with_audit_text(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    call(clock, limits="audit text").generate(Asked(Conversation("一只狐狸\nin snow"), {}))
    assert the_line(caplog)["prompt"] == "一只狐狸\nin snow"
    assert "\n" not in next(record.getMessage() for record in caplog.records if "image_request" in record.getMessage())


def test_a_prompt_is_not_logged_with_audit_none(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    call(clock, limits="audit none").generate(Asked(FOX, {}))
    assert set(the_line(caplog)) == FIELDS - {"prompt"}


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        ({"limits": "images 2"}, {"n": 3}),
        ({"limits": "megapixels 1"}, {"width": 2048, "height": 2048}),
        ({"forbidden_words": "fox"}, {}),
        ({}, {"width": "broad"}),
        ({"limits": "images few"}, {}),
    ],
)
def test_a_refusal_is_logged(
    values: dict[str, str], parameters: Mapping[str, object], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for ask in (call(clock, **values).generate, call(clock, **values).start):
        caplog.clear()
        with pytest.raises(BadRequest):
            ask(Asked(FOX, parameters))
        line = the_line(caplog)
        assert (line["outcome"], line["error_class"]) == ("refused", "InvokeBadRequestError")


def test_a_refused_request_is_logged_with_its_parameters(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BadRequest):
        call(clock, limits="images 2, audit text").generate(Asked(FOX, {"n": 3, "seed": 5}))
    line = the_line(caplog)
    assert (line["n"], line["seed"], line["prompt"]) == (3, "5", "a red fox")


@pytest.mark.parametrize("values", [{}, {"backend": "nothing"}, {"backend": "stability", "headers": "nonsense"}])
def test_a_model_that_cannot_be_bound_is_logged(
    values: dict[str, str], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadRequest):
        Call.of("no-such-model", values, "user-7", clock)
    line = the_line(caplog)
    assert (line["model"], line["outcome"], line["user"]) == ("no-such-model", "refused", "user-7")
    assert (line["n"], line["cached"]) == (0, False)
    assert "prompt" not in line
    assert line["backend"] == values.get("backend", "")


class Failing(StubBackend):
    """A service that raises `error` for every request."""

    error: Exception = ServerUnavailable("Painting failed", "out of memory")

    def _generate(self, request: ImageRequest, deadline: object) -> ImageRequest:  # type: ignore[override]
        raise self.error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ServerUnavailable("Painting failed", "out of memory"), "InvokeServerUnavailableError"),
        (BadRequest("Painting failed", "the prompt was refused by a filter"), "InvokeBadRequestError"),
        (RateLimited("Painting failed", "no credit"), "InvokeRateLimitError"),
        (AuthorizationFailed("Painting failed", f"the key {MARKER_KEY} is wrong"), "InvokeAuthorizationError"),
        (KeyError(MARKER_KEY), "KeyError"),
    ],
)
def test_a_request_refused_by_the_service_is_failed(
    error: Exception, name: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Failing(clock)
    backend.error = error
    for ask in (stubbed(backend).generate, stubbed(backend).start):
        caplog.clear()
        with pytest.raises((ImageError, KeyError)):
            ask(Asked(FOX, {"seed": 3}))
        line = the_line(caplog)
        assert (line["outcome"], line["error_class"], line["seed"]) == ("failed", name, "3")
        assert MARKER_KEY not in caplog.text


def test_a_polled_job_is_logged_once_by_its_last_call(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    started = call(clock, limits="audit text").start(Asked(FOX, {"simulate_seconds": 5, "seed": 9}))
    assert isinstance(started, Waiting)
    assert lines(caplog) == []
    clock.sleep(5)
    assert isinstance(call(clock, limits="audit text").check(started.state), Finished)
    line = the_line(caplog)
    assert (line["outcome"], line["prompt"], line["seed"]) == ("succeeded", "a red fox", "9")
    assert isinstance(line["seconds"], float)
    assert line["seconds"] >= 5


@pytest.mark.parametrize("mode", ["text", "hash", "none"])
def test_no_key_is_logged(mode: str, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    values = {"stability_api_key": MARKER_KEY, "limits": f"audit {mode}"}
    Call.of("preview", values, MARKER_KEY, clock).generate(Asked(Conversation(f"a fox with {MARKER_KEY}"), {}))
    assert the_line(caplog)["user"] == "[hidden]"
    assert MARKER_KEY not in caplog.text


def test_a_very_long_prompt_is_truncated_in_the_line(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    AuditLog("text", ())(Receipt(time=clock.time, user="", model="m", backend="b", prompt="x" * 1_000_000))
    assert len(str(the_line(caplog)["prompt"])) <= 20_000


def test_a_log_error_does_not_fail_the_request(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ValueError("no JSON today")

    monkeypatch.setattr("models.stages.audit.json.dumps", broken)
    AuditLog("hash", ())(Receipt(time=clock.time, user="", model="m", backend="b"))
    assert "could not be written" in caplog.text


ASKED = Receipt(time=100.0, user="ann", model="m", backend="b")
MADE = ImageResult(images=(GeneratedImage(image_file(40, 30)),), backend="b", model="other", prompt="a fox")


@pytest.mark.parametrize(("seed", "written"), [(None, None), (0, "0"), (2**60, str(2**60))])
def test_a_receipt_has_what_was_asked_for(seed: int | None, written: str | None) -> None:
    request = ImageRequest(model="m", prompt="a fox", asked_seed=seed, seeds=() if seed is None else (seed,), n=3)
    found = ASKED.of(replace(request, width=64, height=32))
    assert found == replace(ASKED, prompt="a fox", seed=written, width=64, height=32, n=3)


@pytest.mark.parametrize(("drawn", "written"), [(None, "5"), (0, "0"), (7, "7")])
def test_a_receipt_has_what_was_made(drawn: int | None, written: str) -> None:
    images = (GeneratedImage(image_file(40, 30), seed=drawn), GeneratedImage(image_file(20, 20), seed=9))
    made = replace(MADE, images=images, price=Price(Decimal("0.10"), "EUR"), cached=True)
    facts = {"width": 40, "height": 30, "n": 2, "price": "0.10", "currency": "EUR", "cached": True}
    assert replace(ASKED, seed="5").made(made) == replace(ASKED, answered_by="other", seed=written, **facts)  # type: ignore[arg-type]


def test_an_image_is_at_its_kept_address_before_the_services_own() -> None:
    kept, own = Kept("a.png", "https://cdn/a.png"), "https://service/1.png"
    images = [
        GeneratedImage(image_file(), url=own, kept=kept),
        GeneratedImage(image_file(), url=own, kept=Kept("b.png", "")),
        GeneratedImage(image_file(), url=own),
        GeneratedImage(image_file(), kept=kept),
        GeneratedImage(image_file()),
    ]
    done = ASKED.succeeded(replace(MADE, images=tuple(images)), 1.23456)
    assert done.image_urls == ("https://cdn/a.png", own, own, "https://cdn/a.png")
    assert (done.outcome, done.seconds) == ("succeeded", 1.235)


@pytest.mark.parametrize(
    ("error", "handed_over", "outcome"),
    [
        (BadRequest("x"), False, "refused"),
        (RateLimited("x"), False, "refused"),
        (ServerUnavailable("x"), False, "failed"),
        (BadRequest("x"), True, "failed"),
        (KeyError("x"), False, "failed"),
    ],
)
def test_a_request_is_refused_until_a_service_has_it(error: Exception, handed_over: bool, outcome: str) -> None:
    done = ASKED.failed(error, 102.34567, handed_over=handed_over)
    assert (done.outcome, done.seconds, done.answered_by) == (outcome, 2.346, None)


def test_images_of_a_failure_are_in_its_receipt() -> None:
    error = ServerUnavailable("x")
    error.made = MADE
    done = ASKED.failed(error, 101.0, handed_over=True)
    assert (done.answered_by, done.n, done.width) == ("other", 1, 40)


@pytest.mark.parametrize(("prompt", "length"), [("x" * 20_000, 20_000), ("x" * 20_001, 20_000)])
def test_the_beginning_of_a_prompt_is_written_down(prompt: str, length: int) -> None:
    assert record(replace(ASKED, prompt=prompt), "text", ())["prompt"] == "x" * length


def test_only_a_model_with_two_workflows_names_its_version() -> None:
    assert "version" not in record(ASKED, "none", ())
    assert record(replace(ASKED, version="canary"), "none", ())["version"] == "canary"
