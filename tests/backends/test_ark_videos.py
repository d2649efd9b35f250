"""Seedance with a fake server over HTTP: bodies, tasks, videos with their frames, prices and refusals."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
import responses
from pydantic import JsonValue

from models.backends.ark.seedance import Seedance
from models.backends.base import Running
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.catalog import cards
from models.entities import ImageResult, InputImage, Price
from models.sizes import SeedRule
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.ark import FakeArk, ark, error
from tests.servers.ark_videos import TOKENS
from tests.video_files import mp4

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "ark" and "rates" in card.facts)
PHOTO = InputImage(image_file(640, 480), "image/png", "photo.png")
VIDEO = {"duration": 5, "resolution": "720p"}
CHINA, ASIA = "https://ark.cn-beijing.volces.com/api/v3", "https://ark.ap-southeast.bytepluses.com/api/v3"


@pytest.fixture
def server() -> Iterator[FakeArk]:
    with ark(key=MARKER_KEY) as fake:
        yield fake


def seedance(fake: FakeArk, model: str = "seedance-2.0", *, key: str = MARKER_KEY, remote: str = "") -> Seedance:
    form = {"ark_api_key": key, "ark_base_url": fake.url}
    if remote:
        form = {"backend": "ark", "base_url": fake.url, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, Seedance)
    return backend


def generate(backend: Seedance, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red kite", **{"timeout": 60.0, "extra": VIDEO, **parts}))


def test_a_video_is_a_task_and_comes_with_its_last_frame(server: FakeArk) -> None:
    result = generate(seedance(server), aspect_ratio="16:9")
    assert server.asked == [
        {
            "model": "doubao-seedance-2-0-260128",
            "content": [{"type": "text", "text": "a red kite"}],
            "resolution": "720p",
            "ratio": "16:9",
            "duration": 5,
            "generate_audio": False,
            "watermark": False,
            "return_last_frame": True,
        }
    ]
    (video,) = result.images
    assert (video.data, video.mime_type, video.size) == (mp4(), "video/mp4", (1280, 720))
    assert (video.seed, video.poster) == (1234, image_file(1280, 720))
    assert result.price == Price(Decimal("7.0") * TOKENS / 1_000_000, "USD")
    assert any("24 hours" in notice for notice in result.notices)


def test_sound_and_resolution_have_their_own_prices(server: FakeArk) -> None:
    loud = generate(seedance(server, "seedance-1.5-pro"), extra={**VIDEO, "generate_audio": True})
    high = generate(seedance(server), extra={**VIDEO, "resolution": "4k"})
    assert [result.price and result.price.amount * 1_000_000 / TOKENS for result in (loud, high)] == [
        Decimal("2.4"),
        Decimal("4.0"),
    ]


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_makes_a_video_by_its_defaults(server: FakeArk, model: str) -> None:
    backend = seedance(server, model)
    defaults = {rule.name: rule.default for rule in backend.rules() if rule.name in {*VIDEO, "generate_audio"}}
    result = generate(backend, extra=defaults, images=(PHOTO,), aspect_ratio="4:3", seed=7)
    assert result.images[0].is_video
    assert ("seed" in server.asked[0]) == (not model.startswith("seedance-2"))
    assert {"cost", "currency"} <= backend.gives(asking.asked(backend, extra=defaults))


def test_images_are_the_first_and_the_last_frame_or_references(server: FakeArk) -> None:
    backend = seedance(server)
    generate(backend, images=(PHOTO,))
    generate(backend, images=(PHOTO, PHOTO))
    generate(backend, images=(PHOTO,) * 3, extra={**VIDEO, "input_mode": "references"})
    roles = [[part["role"] for part in body["content"][1:]] for body in server.asked]
    assert roles == [["first_frame"], ["first_frame", "last_frame"], ["reference_image"] * 3]
    assert "ratio" not in server.asked[0], "the first frame decides the shape"


def test_more_images_than_frames_are_refused_with_the_way_out(server: FakeArk) -> None:
    with pytest.raises(BadRequest, match="`input_mode` to references"):
        generate(seedance(server), images=(PHOTO,) * 3)
    with pytest.raises(BadRequest, match="at most 1"):
        generate(seedance(server, "seedance-1.0-pro-fast"), images=(PHOTO,) * 2)
    assert server.asked == []


def test_a_job_goes_on_in_another_process_and_holds_no_image(server: FakeArk) -> None:
    job = seedance(server).submit(asking.asked(seedance(server), images=(PHOTO,), n=2, extra=VIDEO))
    assert isinstance(job, dict)
    assert len(str(job)) < 2_000
    other = seedance(server)
    assert not isinstance(other.check(job), ImageResult)
    done = other.check(job)
    assert isinstance(done, ImageResult)
    assert len(done.images) == 2


def test_a_video_is_not_lost_to_its_last_frame(server: FakeArk) -> None:
    server.videos.file_faults["png"] = 403
    (video,) = generate(seedance(server)).images
    assert (video.is_video, video.poster) == (True, None)


def test_a_video_that_cannot_be_fetched_is_told_as_made(server: FakeArk) -> None:
    server.videos.file_faults["mp4"] = 404
    with pytest.raises(ServerUnavailable, match="The video was made: look for it at the service"):
        generate(seedance(server))
    server.videos.file_faults.clear()
    server.videos.video = image_file()
    with pytest.raises(ServerUnavailable, match="no video"):
        generate(seedance(server))


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        (
            {
                "status": "failed",
                "error": {"code": "OutputVideoSensitiveContentDetected.PolicyViolation", "message": "x"},
            },
            BadRequest,
            "filter",
        ),
        (
            {"status": "failed", "error": {"code": "InternalServiceError", "message": "broke"}},
            ServerUnavailable,
            "broke",
        ),
        ({"status": "failed"}, ServerUnavailable, "Ark"),
        ({"status": "cancelled"}, ServerUnavailable, "cancelled"),
        ({"status": "expired"}, ServerUnavailable, "expired"),
        ({"status": "succeeded", "content": None}, ServerUnavailable, "without an image"),
    ],
)
def test_a_task_that_gives_no_video_has_its_class(
    server: FakeArk, state: dict[str, object], kind: type[ImageError], words: str
) -> None:
    server.videos.states.append(state)
    with pytest.raises(kind, match=words):
        generate(seedance(server))


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (400, "InputImageSensitiveContentDetected.PrivacyInformation", BadRequest, "real people"),
        (401, "AuthenticationError", AuthorizationFailed, "api_key"),
        (403, "AccountOverdueError", RateLimited, "no credit"),
        (404, "ModelNotOpen", BadRequest, "Activate"),
        (429, "QuotaExceeded", RateLimited, "no credit"),
        (500, "InternalServiceError", ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_is_not_repeated(
    server: FakeArk, status: int, code: str, kind: type[ImageError], advice: str
) -> None:
    server.replies.append(error(status, code, f"refused for {MARKER_KEY}"))
    with pytest.raises(kind) as caught:
        generate(seedance(server))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_task_that_waits_is_cancelled_and_a_running_one_says_that_it_goes_on(server: FakeArk) -> None:
    backend = seedance(server)
    job = backend.submit(asking.asked(backend, extra=VIDEO))
    assert isinstance(job, dict)
    server.videos.states.append({"status": "queued"})
    backend.cancel(job)
    assert server.videos.cancelled == ["cgt-0"]
    server.videos.looks = 10**6
    with pytest.raises(ConnectionFailed, match="could not be cancelled"):
        generate(backend)


def test_a_task_that_the_service_does_not_know_ends_the_job(server: FakeArk) -> None:
    backend = seedance(server)
    job = backend.submit(asking.asked(backend, extra=VIDEO))
    assert isinstance(job, dict)
    server.videos.looked.clear()
    with pytest.raises(ServerUnavailable, match="no longer has the task"):
        backend.check(job)


def test_the_record_of_an_ended_task_is_not_erased(server: FakeArk) -> None:
    backend = seedance(server)
    job = backend.submit(asking.asked(backend, extra=VIDEO))
    assert isinstance(job, dict)
    for state in ({"status": "succeeded"}, {"status": "failed"}):
        server.videos.states.append(state)
        backend.cancel(job)
    assert server.videos.cancelled == []


@pytest.mark.parametrize(
    ("address", "model", "remote"),
    [
        (CHINA, "seedance-2.0", "doubao-seedance-2-0-260128"),
        (ASIA, "seedance-2.0", "dreamina-seedance-2-0-260128"),
        (ASIA, "doubao-seedance-9-0", "seedance-9-0"),
        (CHINA, "ep-2026-abc", "ep-2026-abc"),
    ],
)
def test_each_site_has_its_own_names(address: str, model: str, remote: str) -> None:
    form = {"backend": "ark", "base_url": address, "api_key": "k", "remote_model": model}
    backend = asking.bound("my-seedance", form)
    assert isinstance(backend, Seedance)
    assert backend._remote == remote


def test_the_price_of_an_unknown_model_is_unknown(server: FakeArk) -> None:
    backend = seedance(server, "my-seedance", remote="seedance-2-0-next")
    assert generate(backend).price is None
    assert "cost" not in backend.gives(asking.asked(backend, extra=VIDEO))


def test_the_form_is_checked_without_generating(server: FakeArk) -> None:
    assert seedance(server).check_access() == ()
    with pytest.raises(AuthorizationFailed):
        seedance(server, key="wrong").check_access()
    assert server.asked == []


# ---- one look at a task

HOME_TASK = f"{CHINA}/contents/generations/tasks/t"
FILM = f"{CHINA}/film.mp4"


def hosted(model: str = "seedance-2.0") -> Seedance:
    backend = asking.bound(model, {"ark_api_key": MARKER_KEY}, FakeClock())
    assert isinstance(backend, Seedance)
    return backend


def job(*facts: dict[str, JsonValue]) -> dict[str, JsonValue]:
    tasks: list[JsonValue] = [{"id": "t", "seed": 3, "facts": one} for one in facts]
    return {"tasks": tasks, "prompt": "a fox", "n": len(tasks), "input_images": 0, "notices": []}


@responses.activate
@pytest.mark.parametrize("status", ["queued", "running", "a new state"])
def test_a_video_that_is_not_ready_tells_its_state(status: str) -> None:
    responses.get(HOME_TASK, json={"status": status})
    assert hosted().check(job({})) == Running(status)


@responses.activate
@pytest.mark.parametrize(("told", "seed"), [({}, 3), ({"seed": 0}, 0), ({"seed": 9}, 9)])
def test_a_video_has_the_seed_that_was_used_and_may_have_no_poster(told: dict[str, object], seed: int) -> None:
    responses.get(HOME_TASK, json={"status": "succeeded", "content": {"video_url": FILM}, **told})
    responses.get(FILM, body=mp4())
    result = hosted().check(job({}))
    assert isinstance(result, ImageResult)
    assert [(video.seed, video.poster) for video in result.images] == [(seed, None)]


@responses.activate
@pytest.mark.parametrize(
    ("usage", "facts", "price"),
    [
        ({"completion_tokens": 500_000}, [{"rate": "7"}, {"rate": "2.5"}], Price(Decimal("4.75"), "USD")),
        ({"completion_tokens": 0}, [{"rate": "7"}], Price(Decimal(0), "USD")),
        ({"completion_tokens": 5}, [{"rate": "7"}, {}], None),
        ({"completion_tokens": None}, [{"rate": "7"}], None),
        (None, [{"rate": "7"}], None),
    ],
)
def test_a_price_needs_the_tokens_and_the_rate_of_every_task(
    usage: object, facts: list[dict[str, JsonValue]], price: Price | None
) -> None:
    responses.get(HOME_TASK, json={"status": "succeeded", "content": {"video_url": FILM}, "usage": usage})
    responses.get(FILM, body=mp4())
    result = hosted().check(job(*facts))
    assert isinstance(result, ImageResult)
    assert result.price == price


def test_only_models_that_take_a_seed_have_one() -> None:
    request = asking.asked(hosted())
    assert hosted().seeds(request) is None
    assert hosted("seedance-1.5-pro").seeds(request) == SeedRule(highest=4_294_967_295)


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 2.0), (20.0, 2.0), (50.0, 5.0), (100.0, 10.0), (500.0, 10.0)])
def test_a_video_is_looked_at_less_often_with_time(elapsed: float, pause: float) -> None:
    assert hosted().interval(elapsed) == pause


@responses.activate
def test_the_form_of_a_video_model_is_checked_by_one_entry_of_the_tasks() -> None:
    responses.get(f"{CHINA}/contents/generations/tasks?page_num=1&page_size=1", json={})
    assert hosted().check_access() == ()
    assert responses.calls[0].request.url == f"{CHINA}/contents/generations/tasks?page_num=1&page_size=1"


@responses.activate
def test_a_failure_that_may_pass_while_cancelling_is_told() -> None:
    responses.get(HOME_TASK, status=503, json={})
    with pytest.raises(ImageError) as caught:
        hosted().cancel(job({}))
    assert caught.value.transient
    assert {call.request.method for call in responses.calls} == {"GET"}
