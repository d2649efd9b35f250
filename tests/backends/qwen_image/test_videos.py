"""The Wan video models with a strict fake of Model Studio over HTTP: bodies, tasks, prices, frames and refusals."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from models.backends.base import Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.qwen_image import QwenImage
from models.backends.qwen_image.videos import EXPIRY, VideoReply, WanModel, WanVideo
from models.catalog import cards
from models.entities import ImageResult, InputImage, Price
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.model_studio_videos import VIDEO, VIDEO_MODELS
from tests.servers.qwen_image import FakeModelStudio, model_studio

PREDEFINED = sorted(card.model for card in cards().values() if "video" in card.facts)
PHOTO = InputImage(image_file(640, 480), "image/png", "photo.png")
PROMPT = "a red kite"


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelStudio]:
    """The fake server as the host of every region, so that the prices of Beijing apply."""
    from models.backends.qwen_image import account  # noqa: PLC0415 -- only its table is replaced

    with model_studio(key=MARKER_KEY) as server:
        regions = {name: replace(region, base_url=server.url) for name, region in account.REGIONS.items()}
        monkeypatch.setattr(account, "REGIONS", regions)
        yield server


def wan(model: str = "wan2.7-t2v", clock: FakeClock | None = None, **fields: str) -> WanVideo:
    found = asking.bound(model, {"dashscope_api_key": MARKER_KEY, **fields}, clock or FakeClock())
    assert isinstance(found, WanVideo)
    return found


def custom(remote: str) -> WanVideo:
    form = {"backend": "qwen_image", "api_key": MARKER_KEY, "remote_model": remote}
    found = asking.bound("my-video", form, FakeClock())
    assert isinstance(found, WanVideo)
    return found


def generate(backend: WanVideo, **parts: Any) -> ImageResult:
    facts = backend.facts
    parts.setdefault("images", (PHOTO,) * facts.min_images)
    return backend.invoke(asking.asked(backend, PROMPT, **{"timeout": 60.0, "seed": 7, **parts}))


def sent(studio: FakeModelStudio) -> list[dict[str, Any]]:
    return [received.body for received in studio.of_kind("submit")]


def data_url(image: InputImage) -> str:
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode()}"


# ---- what is sent


def test_the_fake_knows_every_predefined_model() -> None:
    assert set(PREDEFINED) == set(VIDEO_MODELS)


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_makes_a_video_by_its_defaults(studio: FakeModelStudio, model: str) -> None:
    backend = wan(model)
    defaults = {
        rule.name: rule.default for rule in backend.rules() if rule.name in {"duration", "resolution", "generate_audio"}
    }
    result = generate(backend, extra=defaults)
    (video,) = result.images
    assert (video.data, video.mime_type, video.size, video.seed) == (VIDEO, "video/mp4", (1280, 720), 7)
    assert video.revised_prompt == f"{PROMPT}, in slow motion"
    assert EXPIRY in result.notices
    asked = asking.asked(backend, PROMPT, extra=defaults)
    assert {"seed", "cost", "currency"} <= backend.gives(asked)
    assert result.price
    assert result.price.currency == "CNY"


def test_wan_27_gets_resolution_and_ratio(studio: FakeModelStudio) -> None:
    generate(wan(), aspect_ratio="3:4", negative_prompt="text", extra={"resolution": "1080p", "duration": 8})
    assert sent(studio) == [
        {
            "model": "wan2.7-t2v",
            "input": {"prompt": PROMPT, "negative_prompt": "text"},
            "parameters": {
                "resolution": "1080P",
                "ratio": "3:4",
                "duration": 8,
                "prompt_extend": True,
                "watermark": False,
                "seed": 7,
            },
        }
    ]


def test_wan_27_gets_the_first_and_the_last_frame_as_media(studio: FakeModelStudio) -> None:
    backend = wan("wan2.7-i2v")
    generate(backend)
    generate(backend, images=(PHOTO, PHOTO))
    first, last = ({"type": role, "url": data_url(PHOTO)} for role in ("first_frame", "last_frame"))
    assert [body["input"]["media"] for body in sent(studio)] == [[first], [first, last]]
    assert "ratio" not in sent(studio)[0]["parameters"], "the first frame decides the shape"


def test_wan_30_takes_frames_or_references(studio: FakeModelStudio) -> None:
    backend = wan("wan3.0-video")
    generate(backend)
    generate(backend, images=(PHOTO,), extra={"generate_audio": False})
    generate(backend, images=(PHOTO,) * 3, extra={"input_mode": "references"})
    roles = [[entry["type"] for entry in body["input"].get("media", [])] for body in sent(studio)]
    assert roles == [[], ["first_frame"], ["reference_image"] * 3]
    assert [body["parameters"]["audio"] for body in sent(studio)] == [True, False, True]
    with pytest.raises(BadRequest, match="`input_mode` to references"):
        generate(backend, images=(PHOTO,) * 3)


def test_wan_25_gets_pixels(studio: FakeModelStudio) -> None:
    backend = wan("wan2.5-t2v-preview")
    generate(backend)
    generate(backend, aspect_ratio="3:4", extra={"resolution": "1080p", "duration": 10, "generate_audio": False})
    assert [body["parameters"]["size"] for body in sent(studio)] == ["1280*720", "1248*1632"]
    assert sent(studio)[1]["parameters"] == {
        "size": "1248*1632",
        "duration": 10,
        "audio": False,
        "prompt_extend": True,
        "watermark": False,
        "seed": 7,
    }


def test_a_shape_that_a_resolution_does_not_have_becomes_the_nearest(studio: FakeModelStudio) -> None:
    result = generate(wan("wan2.5-t2v-preview"), aspect_ratio="4:3", extra={"resolution": "480p"})
    assert sent(studio)[0]["parameters"]["size"] == "624*624"
    assert "The aspect ratio 4:3 became 1:1, the nearest that wan2.5-t2v-preview makes." in result.notices


def test_a_length_that_a_model_does_not_make_becomes_the_nearest(studio: FakeModelStudio) -> None:
    result = generate(wan("wan2.5-i2v-preview"), extra={"duration": 8})
    assert sent(studio)[0]["parameters"]["duration"] == 10
    assert "`duration` became 10, the nearest that wan2.5-i2v-preview makes." in result.notices
    assert result.price == Price(Decimal("6.00"), "CNY")


def test_the_old_models_get_their_images_by_name(studio: FakeModelStudio) -> None:
    generate(wan("wan2.2-i2v-flash"))
    generate(wan("wan2.2-kf2v-flash"))
    one, both = (set(body["input"]) for body in sent(studio))
    assert (one, both) == ({"prompt", "img_url"}, {"prompt", "first_frame_url", "last_frame_url"})
    paths = [received.path for received in studio.of_kind("submit")]
    assert paths == [f"/api/v1/services/aigc/{part}/video-synthesis" for part in ("video-generation", "image2video")]


def test_an_image_comes_without_transparency_and_in_a_size_that_is_taken(studio: FakeModelStudio) -> None:
    logo = InputImage(image_file(200, 150, mode="RGBA", colour=(200, 0, 0, 90)), "image/png", "logo.png")
    result = generate(wan("wan2.2-i2v-plus"), images=(logo,))
    assert any("transparent in places; white is used" in notice for notice in result.notices)
    assert any("logo.png was scaled from 200×150 to 480×360" in notice for notice in result.notices)


def test_a_text_that_is_cut_by_the_service_is_told(studio: FakeModelStudio) -> None:
    backend = wan("wan2.2-t2v-plus")
    result = backend.invoke(asking.asked(backend, "x" * 801, negative_prompt="y" * 501))
    assert "The prompt has 801 characters; the model reads the first 800." in result.notices
    assert "The negative prompt has 501 characters; the model reads the first 500." in result.notices


# ---- what is refused before anything is sent


@pytest.mark.parametrize(
    ("model", "images", "words"),
    [
        ("wan2.7-i2v", 0, "no image was sent"),
        ("wan2.7-i2v", 3, "at most 2"),
        ("wan2.7-t2v", 1, "does not support input images"),
        ("wan2.2-kf2v-flash", 1, "needs the first and the last frame"),
    ],
)
def test_a_wrong_number_of_images_is_refused(studio: FakeModelStudio, model: str, images: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        generate(wan(model), images=(PHOTO,) * images)
    assert studio.requests == []


def test_a_region_and_a_token_plan_without_the_model_are_refused(studio: FakeModelStudio) -> None:
    with pytest.raises(BadRequest, match="is offered in Beijing and Singapore, not in US"):
        generate(wan(dashscope_region="us"))
    with pytest.raises(BadRequest, match="works with jobs only"):
        generate(wan(dashscope_api_key="sk-sp-marker"))
    assert studio.requests == []


# ---- prices


@pytest.mark.parametrize(
    ("model", "region", "extra", "price"),
    [
        ("wan2.7-t2v", "beijing", {"resolution": "720p", "duration": 5}, ("3.00", "CNY")),
        ("wan2.7-i2v", "singapore", {"resolution": "1080p", "duration": 10}, ("1.50", "USD")),
        ("wan3.0-video-prime", "singapore", {"resolution": "480p", "duration": 30}, ("2.040", "USD")),
        ("wan2.2-t2v-plus", "beijing", {"resolution": "480p"}, ("0.70", "CNY")),
    ],
)
def test_a_video_is_priced_by_second_and_resolution(
    studio: FakeModelStudio, model: str, region: str, extra: dict[str, object], price: tuple[str, str]
) -> None:
    result = generate(wan(model, dashscope_region=region), extra=extra)
    assert result.price == Price(Decimal(price[0]), price[1])


def test_two_videos_cost_twice_as_much_and_a_failed_one_nothing(studio: FakeModelStudio) -> None:
    assert generate(wan(), n=2).price == Price(Decimal("6.00"), "CNY")
    studio.per_task = ["SUCCEEDED", "FAILED"]
    # The fake names its tasks by their seeds, also those of the first request.
    studio._tasks.clear()
    result = generate(wan(), n=2)
    assert (len(result.images), result.price) == (1, Price(Decimal("3.00"), "CNY"))


def test_the_price_is_unknown_where_nobody_tells_it(studio: FakeModelStudio) -> None:
    plus, own = wan("wan2.2-t2v-plus", dashscope_region="singapore"), custom("wan2.6-t2v")
    assert generate(plus).price is None
    for backend in (plus, own):
        assert "cost" not in backend.gives(asking.asked(backend, PROMPT))


@pytest.mark.parametrize(
    ("usage", "seconds"),
    [
        ({"output_video_duration": 4, "duration": 9}, 4),
        ({"video_duration": 5.0}, 5),
        ({"duration": 6, "SR": 720}, 6),
        ({"duration": "7"}, None),
        ({"duration": 0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_length_has_several_names(usage: object, seconds: int | None) -> None:
    assert VideoReply.model_validate({"output": {}, "usage": usage}).seconds == seconds


# ---- tasks


def test_a_job_goes_on_in_another_process_and_holds_neither_key_nor_image(studio: FakeModelStudio) -> None:
    studio.statuses = ["PENDING", "RUNNING", "SUCCEEDED"]
    job = wan("wan2.7-i2v").submit(asking.asked(wan("wan2.7-i2v"), PROMPT, images=(PHOTO,), seed=9))
    assert isinstance(job, dict)
    written = json.dumps(job)
    assert MARKER_KEY not in written
    assert "base64" not in written
    other = wan("wan2.7-i2v")
    assert [other.check(json.loads(written)) for _ in range(2)] == [Running("queued"), Running("running")]
    done = other.check(job)
    assert isinstance(done, ImageResult)
    assert (done.images[0].seed, done.price) == (9, Price(Decimal("3.00"), "CNY"))


def test_a_video_is_looked_at_every_few_seconds() -> None:
    assert [wan().interval(age) for age in (0, 50, 600)] == [2.0, 5.0, 10.0]


def test_a_queued_task_is_cancelled_and_a_running_one_says_that_it_goes_on(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.statuses = ["PENDING"]
    with pytest.raises(ConnectionFailed, match="last known state: queued"):
        generate(wan(clock=clock))
    assert len(studio.of_kind("cancel")) == 1
    studio.statuses = ["RUNNING"]
    with pytest.raises(ConnectionFailed, match="could not be cancelled"):
        generate(wan(clock=clock))


def test_an_ended_task_is_not_cancelled(studio: FakeModelStudio) -> None:
    studio.statuses = ["FAILED"]
    backend = wan()
    job = backend.submit(asking.asked(backend, PROMPT))
    assert isinstance(job, dict)
    backend.cancel(job)
    assert studio.of_kind("cancel") == []


@pytest.mark.parametrize(
    ("status", "final", "kind", "words"),
    [
        ("FAILED", {"code": "DataInspectionFailed", "message": "blocked"}, BadRequest, "content filter"),
        ("FAILED", {"code": "IPInfringementSuspect", "message": "blocked"}, BadRequest, "content filter"),
        ("FAILED", {"code": "InternalError.Algo", "message": "broke"}, ServerUnavailable, "broke"),
        ("FAILED", {"code": "InvalidParameter", "message": "size must be in"}, BadRequest, "size must be in"),
        ("CANCELED", {}, ServerUnavailable, "cancelled"),
        ("UNKNOWN", {}, ServerUnavailable, "no longer has the job"),
        ("SUCCEEDED", {"video_url": None}, ServerUnavailable, "without an image"),
    ],
)
def test_a_task_that_gives_no_video_has_its_class(
    studio: FakeModelStudio, status: str, final: dict[str, object], kind: type[ImageError], words: str
) -> None:
    studio.statuses, studio.final = [status], final
    with pytest.raises(kind, match=words):
        generate(wan())
    assert len(studio.of_kind("submit")) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", BadRequest),
        (400, "DataInspectionFailed", BadRequest),
        (400, "Arrearage", RateLimited),
        (404, "ModelNotFound", BadRequest),
        (500, "InternalError.Timeout", ServerUnavailable),
    ],
)
def test_a_refusal_has_its_class_and_is_not_repeated(
    studio: FakeModelStudio, status: int, code: str, kind: type[ImageError]
) -> None:
    studio.fail("submit", status, code, f"refused for {MARKER_KEY}")
    with pytest.raises(kind) as caught:
        generate(wan())
    assert MARKER_KEY not in str(caught.value)
    assert len(studio.of_kind("submit")) == 1


def test_tasks_that_are_too_many_are_started_at_the_next_slot(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.throttle("submit")
    assert generate(wan(clock=clock)).images


# ---- the file


def test_the_video_is_fetched_without_the_key(studio: FakeModelStudio) -> None:
    """The fake refuses a download with a login."""
    (video,) = generate(wan()).images
    assert video.url is None, "the host cannot reach a private address"
    assert "authorization" not in studio.of_kind("download")[0].headers


def test_a_public_video_keeps_its_address(studio: FakeModelStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.backends.qwen_image import client  # noqa: PLC0415 -- only its view of addresses is replaced

    seen: list[str] = []

    def is_public(host: str) -> bool:
        seen.append(host)
        return len(seen) > 1  # the service is not, so that plain http is allowed; the file is

    monkeypatch.setattr(client, "is_public", is_public)
    (video,) = generate(wan()).images
    assert video.url
    assert video.url.startswith(studio.origin)
    assert video.sent_as == "video/mp4"


@pytest.mark.parametrize(("answer", "words"), [((403, b"<Error/>"), "HTTP 403"), ((200, b"<html>"), "no video came")])
def test_a_video_that_cannot_be_had_is_told_as_made(
    studio: FakeModelStudio, answer: tuple[int, bytes], words: str
) -> None:
    studio.answer("download", answer[0], answer[1].decode(), "text/html")
    with pytest.raises(ServerUnavailable, match=words):
        generate(wan())


# ---- models of one's own


@pytest.mark.parametrize(
    ("remote", "like"),
    [
        ("wan2.6-t2v", "wan2.5-t2v-preview"),
        ("wan2.8-i2v-flash", "wan2.7-i2v"),
        ("wan2.7-t2v-flash", "wan2.7-t2v"),
        ("wanx2.1-i2v-turbo", "wan2.2-i2v-plus"),
        ("wanx2.1-kf2v-plus", "wan2.2-kf2v-flash"),
        ("wan3.5-video", "wan3.0-video"),
        ("wan2.7-r2v", "wan3.0-video"),
        ("wan2.7-videoedit", "wan3.0-video"),
        ("wan2.7-t2v-2026-06-12", ""),
    ],
)
def test_an_unknown_model_is_asked_like_the_most_similar_one(studio: FakeModelStudio, remote: str, like: str) -> None:
    backend = custom(remote)
    told = f"{remote} is not a known model; it is treated like {like}."
    assert backend.check_access() == ((told,) if like else ())
    assert backend.rules() == cards()[like or "wan2.7-t2v"].rules


@pytest.mark.parametrize("name", ["wan2.7-image", "wan2.6-t2i", "wan2.5-i2i-preview", "wanx2.1-imageedit"])
def test_an_image_model_of_the_same_name_stays_one(name: str) -> None:
    assert isinstance(asking.bound(name, {"dashscope_api_key": "k"}), QwenImage)


@pytest.mark.parametrize("model", PREDEFINED)
def test_a_card_agrees_with_its_form(model: str) -> None:
    card = cards()[model]
    facts, rules = WanModel.model_validate(card.facts), {rule.name: rule for rule in card.rules}
    options = set(rules["resolution"].options)
    assert all(set(rates.seconds) == options for rates in facts.prices.values())
    assert not facts.pixels or set(facts.pixels) == options
    assert {rules["duration"].min, rules["duration"].max} >= set(facts.durations)
    assert ("generate_audio" in rules, "input_mode" in rules) == (facts.sound, facts.references)
