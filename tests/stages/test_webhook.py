"""The webhook: signed as the library verifies it, tried again, never in the way of an answer."""

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import gevent
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from models.backends.errors import BadRequest, ServerUnavailable
from models.entities import GeneratedImage, ImageResult, Kept
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages import observers, webhook
from models.stages.audit import Receipt
from models.stages.webhook import DELAYS, WebhookSender, check_webhook
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.scripted import Script, Seen, free_port, hang_up, say, scripted_server

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef0123456789abcdef').decode()}"
SECONDS = 2.5


@pytest.fixture
def receiver() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger = logging.getLogger("image_generation")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


@pytest.fixture
def clock() -> FakeClock:
    """At the real time: the library refuses old events."""
    return FakeClock(time=float(int(datetime.now(UTC).timestamp())))


def sender(url: str, clock: FakeClock, **values: str) -> WebhookSender:
    form = {"webhook_url": url, "webhook_secret": SECRET, **values}
    return WebhookSender.read(Settings(form, {}), "text", clock)


def receipt(clock: FakeClock, **facts: object) -> Receipt:
    return Receipt(time=clock.time, user="ann", model="m", backend="b", prompt="a fox", n=1, **facts)  # type: ignore[arg-type]


def told(url: str, clock: FakeClock, said: Receipt) -> None:
    """Send one event and wait until it has arrived or is lost."""
    sender(url, clock)(said)
    webhook._waiting.join()


def succeeded(clock: FakeClock, **image: object) -> Receipt:
    made = GeneratedImage(image_file(), **image)  # type: ignore[arg-type]
    result = ImageResult(images=(made, GeneratedImage(image_file())), backend="b", model="m", prompt="a fox")
    return receipt(clock).succeeded(result, SECONDS)


def verified(seen: Seen) -> dict[str, object]:
    event = Webhook(SECRET).verify(seen.body, dict(seen.headers))
    assert isinstance(event, dict)
    return event


def test_the_body_is_the_receipt_with_the_kept_address_and_no_bytes(receiver: Script, clock: FakeClock) -> None:
    said = succeeded(clock, url="https://service/1.png", kept=Kept("k", "https://store/1.png?sig=1"))
    told(f"{receiver.url}/hooks/images?team=1", clock, said)
    (seen,) = receiver.seen
    assert (seen.method, seen.path) == ("POST", "/hooks/images?team=1")
    assert seen.headers["content-type"] == "application/json"
    event = verified(seen)
    moment = datetime.fromtimestamp(clock.time + SECONDS, UTC)
    assert (event["type"], event["timestamp"]) == ("image.succeeded", moment.isoformat(timespec="milliseconds"))
    assert event["data"] == {
        "id": said.id,
        "time": said.time,
        "user": "ann",
        "model": "m",
        "backend": "b",
        "answered_by": "m",
        "seed": None,
        "width": 64,
        "height": 48,
        "n": 2,
        "price": None,
        "currency": None,
        "seconds": SECONDS,
        "outcome": "succeeded",
        "error_class": None,
        "cached": False,
        "prompt": "a fox",
        "image_url": "https://store/1.png?sig=1",
        "images": ["https://store/1.png?sig=1"],
    }
    assert base64.b64encode(image_file())[:40] not in seen.body


def test_an_event_without_a_duration_has_the_time_of_its_start(receiver: Script, clock: FakeClock) -> None:
    told(receiver.url, clock, replace(receipt(clock), prompt="一只狐狸"))
    moment = datetime.fromtimestamp(clock.time, UTC)
    assert verified(receiver.seen[0])["timestamp"] == moment.isoformat(timespec="milliseconds")
    assert "一只狐狸".encode() in receiver.seen[0].body


def test_an_image_that_nobody_keeps_has_no_address(receiver: Script, clock: FakeClock) -> None:
    told(receiver.url, clock, succeeded(clock))
    data = verified(receiver.seen[0])["data"]
    assert isinstance(data, dict)
    assert (data["image_url"], data["images"]) == (None, [])


@pytest.mark.parametrize(("handed_over", "outcome"), [(True, "failed"), (False, "refused")])
def test_failures_and_refusals_are_told(receiver: Script, clock: FakeClock, handed_over: bool, outcome: str) -> None:
    error = BadRequest("The image was refused by moderation")
    error.made = ImageResult(
        images=(GeneratedImage(image_file(), url="https://service/refused.png"),), backend="b", model="m", prompt="p"
    )
    told(receiver.url, clock, receipt(clock).failed(error, clock.time, handed_over=handed_over))
    event = verified(receiver.seen[0])
    data = event["data"]
    assert isinstance(data, dict)
    assert (event["type"], data["outcome"], data["error_class"]) == ("image.failed", outcome, "InvokeBadRequestError")
    assert b"refused.png" not in receiver.seen[0].body


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_a_tampered_event_does_not_verify(receiver: Script, clock: FakeClock, change: str) -> None:
    told(receiver.url, clock, receipt(clock).failed(ServerUnavailable("x"), clock.time, handed_over=True))
    seen = receiver.seen[0]
    headers, body, secret = dict(seen.headers), seen.body, SECRET
    match change:
        case "body":
            body = body.replace(b"ann", b"eve")
        case "id":
            headers["webhook-id"] = "msg_other"
        case "time":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 1)
        case "secret":
            secret = f"whsec_{base64.b64encode(b'x' * 32).decode()}"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_it_is_sent_again_with_the_same_id_and_a_new_time(receiver: Script, clock: FakeClock) -> None:
    began = clock.time
    receiver.then(say(500), hang_up, say(429, retry_after="90"), say(204, b""))
    told(receiver.url, clock, succeeded(clock))
    assert clock.pauses == [2.0, 10.0, 90.0]
    assert len({seen.headers["webhook-id"] for seen in receiver.seen}) == 1
    assert [float(seen.headers["webhook-timestamp"]) - began for seen in receiver.seen] == [0, 2, 12, 102]
    verified(receiver.seen[-1])


@pytest.mark.parametrize(
    ("status", "attempts", "said"),
    [(500, len(DELAYS) + 1, "HTTP 500"), (410, 1, "HTTP 410"), (302, len(DELAYS) + 1, "redirects to other.example")],
)
def test_what_is_given_up_is_logged(
    receiver: Script, clock: FakeClock, caplog: pytest.LogCaptureFixture, status: int, attempts: int, said: str
) -> None:
    receiver.then(*[say(status, location="https://other.example/x")] * attempts)
    event = succeeded(clock)
    told(receiver.url, clock, event)
    assert len(receiver.seen) == attempts
    assert f"image.succeeded of request {event.id} was lost: " in caplog.text
    assert said in caplog.text


def test_a_receiver_that_is_not_there_is_logged_without_its_login(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    told(f"http://user:{MARKER_KEY}@127.0.0.1:{free_port()}/x", clock, succeeded(clock))
    assert "was lost: 127.0.0.1" in caplog.text
    assert MARKER_KEY not in caplog.text


def test_the_answer_does_not_wait(receiver: Script, clock: FakeClock) -> None:
    settings = {"webhook_url": receiver.url, "webhook_secret": SECRET}
    Call.of("preview", settings, "ann", clock).generate(Asked(Conversation("a fox"), {"width": 16, "height": 16}))
    assert receiver.seen == []
    webhook._waiting.join()
    assert verified(receiver.seen[0])["type"] == "image.succeeded"


def test_too_many_waiting_events_are_lost_and_logged(
    receiver: Script, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "_MOST", 2)
    for _ in range(3):
        sender(receiver.url, clock)(succeeded(clock))
    webhook._waiting.join()
    assert len(receiver.seen) == 2
    assert "was lost: 2 events wait already" in caplog.text


def test_a_pasted_key_is_hidden_in_the_body(receiver: Script, clock: FakeClock) -> None:
    said = replace(succeeded(clock), prompt=f"a fox {MARKER_KEY}", user=MARKER_KEY)
    sender(receiver.url, clock, stability_api_key=MARKER_KEY)(said)
    webhook._waiting.join()
    assert MARKER_KEY.encode() not in receiver.seen[0].body
    assert b"[hidden]" in receiver.seen[0].body


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"webhook_secret": ""}, "The webhook has no secret"),
        ({"webhook_secret": "whsec_short"}, "“Webhook secret” (webhook_secret)"),
        ({"webhook_secret": "whsec_not base64 at all, but long enough"}, "“Webhook secret” (webhook_secret)"),
        ({"webhook_url": "ftp://host/x"}, "“Webhook URL” (webhook_url) in the provider's settings holds no URL"),
        ({"webhook_url": "https://"}, "holds no URL"),
        ({"webhook_url": "http://[::1"}, "holds no URL"),
    ],
)
def test_saving_the_form_names_what_cannot_be_used(values: dict[str, str], said: str) -> None:
    form = {"webhook_url": "https://host/x", "webhook_secret": SECRET, **values}
    with pytest.raises(BadRequest) as refused:
        check_webhook(Settings(form, {}))
    assert said in str(refused.value)
    assert "not base64 at all" not in str(refused.value)
    assert len(observers(Settings(form, {}))) == 1


def test_a_receiver_that_hangs_holds_up_nobody(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.2)
    monkeypatch.setattr(webhook, "DELAYS", ())
    with scripted_server() as script:
        script.then(lambda handler: gevent.sleep(0.5))
        told(script.url, clock, succeeded(clock))
    assert json.loads(script.seen[0].body)["type"] == "image.succeeded"


@pytest.mark.parametrize(
    ("address", "base", "path"),
    [
        ("https://host/a/b?c=d", "https://host", "/a/b?c=d"),
        ("http://host:8080", "http://host:8080", "/"),
        ("host/hook", "http://host", "/hook"),
        ("https://ann:pass@host/hook", "https://host", "/hook"),
    ],
)
def test_the_address_of_the_receiver(address: str, base: str, path: str, clock: FakeClock) -> None:
    made = sender(address, clock)
    assert (made.service.base_url, made.path) == (base, path)


@pytest.mark.parametrize("address", ["ftp://host/hook", "https://", "https://host:0/hook", "https://host:x/hook"])
def test_an_address_that_is_none_is_refused(address: str, clock: FakeClock) -> None:
    with pytest.raises(BadRequest) as refused:
        sender(address, clock)
    assert str(refused.value).endswith(
        "(webhook_url) in the provider's settings holds no URL. Write it as https://host/path."
    )


@pytest.mark.parametrize(("size", "good"), [(24, True), (25, True), (23, False), (0, False)])
@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_a_secret_has_at_least_24_bytes(size: int, good: bool, prefix: str, clock: FakeClock) -> None:
    text = prefix + base64.b64encode(bytes(size)).decode().rstrip("=")
    if good:
        assert sender("https://host", clock, webhook_secret=text).secret == text
        return
    with pytest.raises(BadRequest) as refused:
        sender("https://host", clock, webhook_secret=text)
    where = "“Webhook secret” (webhook_secret) in the provider's settings"
    said = f"The webhook has no usable secret in {where}" if text else "The webhook has no secret"
    assert str(refused.value) == f"{said}. Write `whsec_` and the base64 of at least 24 random bytes into {where}."


@pytest.mark.parametrize(
    ("status", "headers", "pauses"),
    [
        (500, {}, [2, 10, 60, 300]),
        (404, {}, [2, 10, 60, 300]),
        (429, {"Retry_After": "30"}, [30, 30, 60, 300]),
        (503, {"Retry_After": "9999"}, [900, 900, 900, 900]),
        (410, {}, []),
    ],
)
def test_a_failed_event_is_tried_again_after_growing_pauses(
    status: int, headers: dict[str, str], pauses: list[float], receiver: Script, clock: FakeClock
) -> None:
    receiver.then(*(say(status, b"", **headers) for _ in range(9)))
    told(receiver.url, clock, succeeded(clock))
    assert clock.pauses == pauses
    assert len(receiver.seen) == len(pauses) + 1


@pytest.mark.parametrize(("waiting", "lost"), [(0, True), (1, False)])
def test_only_so_many_events_wait(
    waiting: int, lost: bool, receiver: Script, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert webhook._MOST == 1000
    monkeypatch.setattr(webhook, "_MOST", waiting)
    told(receiver.url, clock, succeeded(clock))
    assert (len(receiver.seen) == 0) is lost
