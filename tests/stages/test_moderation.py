"""Moderation of prompts, input images and results, against a fake endpoint on a real socket."""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from PIL import Image

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ImageError, ServerUnavailable
from models.backends.http import ONCE
from models.entities import POSTER, GeneratedImage, ImageRequest, ImageResult, InputImage, Price, SideFile
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages import moderation
from models.stages.moderation import Moderation, RequestModeration, ResultModeration
from tests.asking import carried
from tests.fakes import MARKER_KEY, FakeClock, image_file, noise
from tests.servers.moderation import KEY, FakeModeration
from tests.servers.scripted import free_port, raw, say, silence
from tests.stubs import StubBackend
from tests.video_files import mp4

GREEN = image_file(colour=(0, 255, 0))
RED = image_file()


@pytest.fixture
def fake() -> Iterator[FakeModeration]:
    with FakeModeration() as server:
        yield server


def settings(url: str, key: str = KEY, **values: str) -> Settings:
    return Settings({"moderation_url": url, "moderation_api_key": key, **values}, {})


def request_of(prompt: str = "a red fox", **parts: object) -> ImageRequest:
    return ImageRequest(model="m", prompt=prompt, **parts)  # type: ignore[arg-type]


def check(url: str, request: ImageRequest, key: str = KEY) -> ImageRequest:
    return RequestModeration(Moderation.read(settings(url, key)))(request, carried())


def refusal(url: str, request: ImageRequest) -> str:
    with pytest.raises(BadRequest) as refused:
        check(url, request)
    return str(refused.value)


def result_of(*images: bytes, **changes: object) -> ImageResult:
    made = tuple(GeneratedImage(image) for image in images)
    return ImageResult(images=made, **{"backend": "b", "model": "m", "prompt": "a cat", **changes})  # type: ignore[arg-type]


def checked(url: str, result: ImageResult, price: Price | None = None) -> ImageResult:
    return ResultModeration(Moderation.read(settings(url)))(result, carried(price_per_image=price))


def test_a_harmless_prompt_passes_unchanged(fake: FakeModeration) -> None:
    request = request_of()
    assert check(fake.url, request) == request
    assert fake.inputs == ["a red fox"]
    assert fake.models == [None]


def test_a_refused_prompt_names_the_category_and_not_the_content(fake: FakeModeration) -> None:
    assert refusal(fake.url, request_of("much gore in snow")) == (
        "The prompt was refused by moderation: category violence. Change it and try again."
    )


@pytest.mark.parametrize(
    "parts", [{"negative_prompt": "no gore"}, {"stamp": "gore"}, {"extra": {"second_prompt": "gore", "steps": 4}}]
)
def test_every_text_of_a_request_is_checked(fake: FakeModeration, parts: dict[str, str]) -> None:
    assert "category violence" in refusal(fake.url, request_of(**parts))


def test_every_input_image_is_checked_by_a_request_of_its_own(fake: FakeModeration) -> None:
    images = (InputImage(RED, "image/png"), InputImage(GREEN, "image/png"))
    said = refusal(fake.url, request_of(images=images))
    assert said.startswith("Input image 2 of 2 was refused by moderation: category sexual.")
    assert len(fake.inputs) == 3


def test_a_refused_result_is_an_error_that_carries_what_was_paid(fake: FakeModeration) -> None:
    with pytest.raises(BadRequest, match=r"^Image 1 was refused by moderation: category sexual") as refused:
        checked(fake.url, result_of(GREEN, GREEN), Price(Decimal("0.5"), "USD"))
    assert refused.value.made is not None
    assert refused.value.made.price == Price(Decimal("1.0"), "USD")


def test_only_the_refused_images_of_a_result_are_left_out(fake: FakeModeration) -> None:
    result = checked(fake.url, result_of(RED, GREEN, RED))
    assert [image.data for image in result.images] == [RED, RED]
    assert result.notices == ("Image 2 was refused by moderation and was left out: category sexual.",)


def test_a_cached_result_is_not_checked_again(fake: FakeModeration) -> None:
    assert checked(fake.url, result_of(GREEN, cached=True)).images
    assert fake.inputs == []


@pytest.mark.parametrize("data", [noise(1200, 900), image_file(2000, 500, kind="TIFF")])
def test_a_big_or_unusual_file_is_sent_as_a_small_copy(fake: FakeModeration, data: bytes) -> None:
    checked(fake.url, result_of(data))
    ((part,),) = fake.inputs
    sent = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(sent)) as copy:
        assert max(copy.size) == 1024


def test_a_small_file_is_sent_as_it_is(fake: FakeModeration) -> None:
    checked(fake.url, result_of(RED))
    url = f"data:image/png;base64,{base64.b64encode(RED).decode()}"
    assert fake.inputs == [[{"type": "image_url", "image_url": {"url": url}}]]


@pytest.mark.parametrize(
    ("thresholds", "prompt", "refused"),
    [
        ("violence:0.95", "gore", False),
        ("violence:0.9", "gore", True),
        ("hate:0.01", "a fox", True),
        ("hate:0.5", "gore", True),
        ("hate:0.5,violence:0.95", "gore and nude", True),
    ],
)
def test_thresholds_replace_the_endpoints_word_for_their_categories(
    fake: FakeModeration, thresholds: str, prompt: str, refused: bool
) -> None:
    url = f"{fake.url}?model=omni&thresholds={thresholds}"
    if refused:
        refusal(url, request_of(prompt))
    else:
        check(url, request_of(prompt))
    assert fake.models == ["omni"]


@pytest.mark.parametrize("suffix", ["", "/", "/moderations", "/moderations/?model=x"])
def test_the_whole_endpoint_may_be_pasted(fake: FakeModeration, suffix: str) -> None:
    check(fake.url + suffix, request_of())
    assert len(fake.inputs) == 1


def test_without_images_only_texts_are_checked(fake: FakeModeration) -> None:
    check(f"{fake.url}?images=off", request_of(images=(InputImage(GREEN, "image/png"),)))
    assert fake.inputs == ["a red fox"]


def test_a_request_without_words_asks_only_about_its_images(fake: FakeModeration) -> None:
    check(fake.url, request_of("", images=(InputImage(RED, "image/png"),)))
    assert [type(asked) for asked in fake.inputs] == [list]


def failing(fake: FakeModeration) -> list[tuple[str, type[ImageError]]]:
    return [(f"http://127.0.0.1:{free_port()}", ConnectionFailed), (fake.url, ServerUnavailable)]


def test_what_the_endpoint_cannot_check_is_refused(fake: FakeModeration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moderation, "_RETRIES", ONCE)
    for url, kind in failing(fake):
        fake.acts.append(say(503, "busy"))
        with pytest.raises(kind, match=r"^The prompt could not be moderated: .*on_error=allow"):
            check(url, request_of())


def test_what_the_endpoint_cannot_check_passes_with_a_notice_where_the_owner_allows_it(
    fake: FakeModeration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "_RETRIES", ONCE)
    for url, _ in failing(fake):
        fake.acts.append(say(500, "broken"))
        passed = check(f"{url}?on_error=allow", request_of())
        assert passed.notices == ("The prompt was not moderated, because the endpoint failed; the owner allows that.",)
    fake.acts.append(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    assert checked(f"{fake.url}?on_error=allow", result_of(RED)).notices == (
        "The image was not moderated, because the endpoint failed; the owner allows that.",
    )


def test_a_refusal_of_one_part_wins_over_a_failure_of_another(fake: FakeModeration) -> None:
    damaged = InputImage(noise(700, 700)[:-400_000], "image/png")
    assert "category violence" in refusal(fake.url, request_of("gore", images=(damaged,)))


def test_an_image_that_does_not_decode_never_passes(fake: FakeModeration) -> None:
    damaged = InputImage(noise(1200, 900)[:400_000], "image/png")
    assert "could not be moderated" in refusal(f"{fake.url}?on_error=allow", request_of(images=(damaged,)))


def test_a_busy_endpoint_is_asked_again(fake: FakeModeration) -> None:
    fake.acts.extend([say(429, "{}"), say(500, "{}")])
    clock = FakeClock()
    RequestModeration(Moderation.read(settings(fake.url), clock))(request_of(), carried())
    assert clock.pauses == [0.5, 1.5]
    assert fake.inputs == ["a red fox"]


def test_a_silent_endpoint_is_given_up_after_its_time(fake: FakeModeration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moderation, "SECONDS", 0.3)
    fake.acts.append(silence)
    with pytest.raises(ServerUnavailable, match=r"it did not reply within 0\.3 seconds"):
        check(fake.url, request_of())


def test_a_wrong_key_is_told_without_it(fake: FakeModeration) -> None:
    with pytest.raises(AuthorizationFailed) as refused:
        check(fake.url, request_of(), MARKER_KEY)
    assert "Incorrect API key: Bearer [hidden]. Check “Moderation API key” (moderation_api_key)" in str(refused.value)
    assert MARKER_KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("on_error=ignore", "`on_error=ignore` in “Moderation URL” (moderation_url) in the provider's settings"),
        ("on_eror=allow", "`on_eror` in the query of “Moderation URL” (moderation_url) in the provider's settings"),
        ("thresholds=sexual", "`sexual` in `thresholds`"),
        ("thresholds=sexual:nan", "`sexual:nan` in `thresholds`"),
        ("thresholds=sexual:1.5", "`sexual:1.5` in `thresholds`"),
        ("thresholds=:0.5", "`:0.5` in `thresholds`"),
        ("images=no", "`images=no` in"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_with_its_place(query: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Moderation.read(settings(f"https://host/v1?{query}"))
    assert str(refused.value).startswith(said)


def test_saving_the_form_asks_the_endpoint_and_checks_the_categories(fake: FakeModeration) -> None:
    Moderation.read(settings(f"{fake.url}?thresholds=sexual/minors:0.2")).probe()
    with pytest.raises(BadRequest, match=r"has no category porn\. Write some of sexual, sexual/minors, violence, hate"):
        Moderation.read(settings(f"{fake.url}?thresholds=porn:0.2")).probe()
    with pytest.raises(AuthorizationFailed):
        Moderation.read(settings(fake.url, "wrong-key-0123456789")).probe()


def test_a_refused_prompt_never_reaches_the_service(fake: FakeModeration, clock: FakeClock) -> None:
    backend = StubBackend(clock)
    with pytest.raises(BadRequest, match="category violence"):
        Call(backend, settings(fake.url)).generate(Asked(Conversation("gore"), {}))
    assert backend.asked == []


def test_a_video_is_checked_by_its_frame(fake: FakeModeration) -> None:
    video = GeneratedImage(mp4(), side_files=(SideFile(POSTER, RED),))
    result = checked(fake.url, replace(result_of(), images=(video,)))
    assert result.images == (video,)
    assert result.notices == ("The video was moderated by one frame.",)
    refused = GeneratedImage(mp4(), side_files=(SideFile(POSTER, GREEN),))
    with pytest.raises(BadRequest, match="The video was refused by moderation"):
        checked(fake.url, replace(result_of(), images=(refused,)))


def test_a_video_without_a_frame_is_never_delivered_unchecked(fake: FakeModeration) -> None:
    for query in ("", "?on_error=allow"):
        with pytest.raises(BadRequest, match=r"no frame.*`images=off`"):
            checked(f"{fake.url}{query}", result_of(mp4()))


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", ("", {}, "refuse", True)),
        ("?model=m-1&on_error=allow&images=off", ("m-1", {}, "allow", False)),
        ("?on_error=refuse&images=on&thresholds=", ("", {}, "refuse", True)),
        ("?thresholds=sexual:0, violence/graphic:1 ,a:b:0.25,", ("", {"sexual": 0, "violence/graphic": 1, "a:b": 0.25}, "refuse", True)),
    ],
)  # fmt: skip
def test_the_policy_is_read_from_the_query(query: str, options: tuple[object, ...]) -> None:
    read = Moderation.read(settings(f"https://host/v1/moderations{query}"))
    assert (read.model, read.thresholds, read.on_error, read.images) == options
    assert read.service.base_url == "https://host/v1"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("on_error=maybe", "`on_error=maybe` in {} cannot be read. Write allow or refuse."),
        ("images=", "`images=` in {} cannot be read. Write on or off."),
        ("imges=on", "`imges` in the query of {} is not known. Write some of images, model, on_error, thresholds."),
        *(
            (f"thresholds={entry}", f"`{entry}` in `thresholds` in {{}} cannot be read. Write a category and a score from 0 to 1, like `sexual:0.4`.")
            for entry in ("sexual", "sexual:1.01", "sexual:-0.1", ":0.5", "sexual:nan", "sexual:x")
        ),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_read_is_refused_and_the_field_named(query: str, said: str) -> None:
    form = settings(f"https://host/v1?{query}")
    with pytest.raises(BadRequest) as refused:
        Moderation.read(form)
    assert str(refused.value) == said.format(form.where("moderation_url"))


@pytest.mark.parametrize(
    ("scores", "flagged", "categories"),
    [
        ({"sexual": 0.4}, {}, ["sexual"]),
        ({"sexual": 0.39}, {}, []),
        ({"sexual": None}, {}, []),
        ({"sexual": 0.39}, {"sexual": True}, []),
        ({}, {"violence": True, "hate": False, "self-harm": None}, ["violence"]),
    ],
)
def test_a_threshold_counts_in_place_of_the_endpoints_word(
    scores: dict[str, float | None], flagged: dict[str, bool | None], categories: list[str]
) -> None:
    policy = Moderation.read(settings("https://host/v1?thresholds=sexual:0.4"))
    judged = moderation._Judged(category_scores=scores, categories=flagged)
    assert list(policy._refused(moderation._Judgement(results=[judged]))) == categories


def test_a_flag_without_a_category_refuses() -> None:
    judged = moderation._Judgement(results=[moderation._Judged(flagged=True)])
    assert list(Moderation.read(settings("https://host/v1"))._refused(judged)) == ["no category named"]
    assert not moderation._Judged().flagged


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_largest_file_that_is_sent_as_it_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = image_file(kind=kind)
    monkeypatch.setattr(moderation, "_SMALL", len(data))
    assert sent(data) == (f"data:image/{kind.lower()};base64", data)
    monkeypatch.setattr(moderation, "_SMALL", len(data) - 1)
    assert sent(data)[0] == "data:image/jpeg;base64"
    assert moderation._SIDE == 1024


@pytest.mark.parametrize(
    ("size", "copied"), [((3000, 1500), (1024, 512)), ((1024, 20), (1024, 20)), ((60, 40), (60, 40))]
)
def test_a_large_or_rare_file_is_sent_as_a_smaller_jpeg(size: tuple[int, int], copied: tuple[int, int]) -> None:
    kind, data = sent(image_file(*size, kind="BMP"))
    image = Image.open(io.BytesIO(data))
    assert (kind, image.format, image.size) == ("data:image/jpeg;base64", "JPEG", copied)


def sent(data: bytes) -> tuple[str, bytes]:
    (part,) = list(moderation._image(data))
    assert isinstance(part, dict)
    address = part["image_url"]
    assert part["type"] == "image_url"
    assert isinstance(address, dict)
    kind, _, text = str(address["url"]).partition(",")
    return kind, base64.b64decode(text)


def test_the_only_input_image_has_no_number(fake: FakeModeration) -> None:
    said = refusal(fake.url, request_of(images=(InputImage(GREEN, "image/png"),)))
    assert said == "The input image was refused by moderation: category sexual. Change it and try again."


def test_nothing_to_check_asks_nothing(fake: FakeModeration) -> None:
    request = request_of("")
    assert check(fake.url, request) is request
    assert fake.inputs == []


def test_a_verdict_that_is_missing_is_not_taken_for_a_pass(
    fake: FakeModeration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Moderation, "verdicts", lambda *_: ())
    with pytest.raises(ValueError, match="shorter"):
        check(fake.url, request_of())
