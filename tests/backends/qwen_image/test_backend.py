"""Qwen-Image with a strict fake of Model Studio over HTTP."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import gevent
import pytest
import responses
from PIL import Image

from models.backends.base import Job, Running
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.partial import Partial
from models.backends.qwen_image import QwenImage
from models.backends.qwen_image.backend import EXPIRY
from models.backends.qwen_image.wire import Output, ResultEntry
from models.backends.trail import begin_trail
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult, InputImage, Price
from tests.asking import asked, bound
from tests.fakes import MARKER_KEY, FakeClock, image_file, noise
from tests.servers.qwen_image import SIGNATURE, FakeModelStudio, model_studio

WAN_JOBS = (
    "wan2.7-image",
    "wan2.7-image-pro",
    "wan2.6-t2i",
    "wan2.6-image",
    "wan2.5-t2i-preview",
    "wan2.5-i2i-preview",
)
TEXT_MODELS = (
    *("qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-2.1-turbo", "qwen-image-2.1-pro"),
    *("qwen-image-3.0", "qwen-image-3.0-pro", "wan2.7-image", "wan2.7-image-pro"),
)
IMAGELESS_MODELS = ("qwen-image-max", "qwen-image-plus", "wan2.6-t2i", "wan2.5-t2i-preview", "z-image-turbo")
EDIT_MODELS = (
    *("qwen-image-edit-plus", "qwen-image-edit-max", "qwen-image-edit", "wanx2.1-imageedit"),
    *("wan2.6-image", "wan2.5-i2i-preview"),
)
JOB_MODELS = ("qwen-image-3.0", "qwen-image-3.0-pro", "qwen-image-plus", "wanx2.1-imageedit", *WAN_JOBS)

PROMPT = "a tea shop, 晨光茶舍"
PHOTO = InputImage(image_file(1200, 800, kind="JPEG"), "image/jpeg", "photo.jpg")


@pytest.fixture
def studio() -> Iterator[FakeModelStudio]:
    with model_studio(key=MARKER_KEY) as server:
        yield server


@pytest.fixture
def beijing(studio: FakeModelStudio, monkeypatch: pytest.MonkeyPatch) -> FakeModelStudio:
    """The fake server as the host of a region, so that the region's prices and messages apply."""
    from models.backends.qwen_image import account  # noqa: PLC0415 -- only its table is replaced

    regions = {name: replace(region, base_url=studio.url) for name, region in account.REGIONS.items()}
    monkeypatch.setattr(account, "REGIONS", regions)
    return studio


def backend(studio: FakeModelStudio, clock: FakeClock, model: str = "qwen-image-2.0", **fields: str) -> QwenImage:
    credentials = {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": studio.url, **fields}
    return qwen(model, credentials, clock)


def own(studio: FakeModelStudio, clock: FakeClock, name: str, remote_model: str = "") -> QwenImage:
    """A customizable model."""
    form = {"backend": "qwen_image", "base_url": studio.url, "api_key": MARKER_KEY, "remote_model": remote_model}
    return qwen(name, form, clock)


def qwen(model: str, form: dict[str, str], clock: FakeClock) -> QwenImage:
    found = bound(model, form, clock)
    assert isinstance(found, QwenImage)
    return found


def ask(found: QwenImage, **more: object) -> ImageRequest:
    if found.model.name in EDIT_MODELS:
        more = {"images": (PHOTO,), **more}
    return asked(found, PROMPT, **more)


def generated(studio: FakeModelStudio, clock: FakeClock, model: str = "qwen-image-2.0", **more: object) -> ImageResult:
    found = backend(studio, clock, model)
    return found.invoke(ask(found, **more))


def submitted(found: QwenImage, **more: object) -> Job:
    job = found.submit(ask(found, **more))
    assert isinstance(job, dict)
    return job


def failed(studio: FakeModelStudio, clock: FakeClock, model: str = "qwen-image-2.0", **more: object) -> ImageError:
    """The error of a request; it never contains the key."""
    with pytest.raises(ImageError) as caught:
        generated(studio, clock, model, **more)
    assert MARKER_KEY not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    return caught.value


# Every model


@pytest.mark.parametrize("model", [*TEXT_MODELS, *IMAGELESS_MODELS, *EDIT_MODELS])
def test_every_model_generates_the_reported_size_and_seed(
    model: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    result = generated(studio, clock, model, seed=7)
    (image,) = result.images
    assert (result.backend, result.model, image.seed) == ("qwen_image", model, 7)
    size = studio.of_kind("submit" if model in JOB_MODELS else "generate")[0].body["parameters"].get("size")
    if size:
        assert f"{image.size[0]}*{image.size[1]}" == size
    assert image.url is not None
    assert image.image_url.endswith(SIGNATURE)
    assert result.notices == (EXPIRY,)


@pytest.mark.parametrize("model", [*TEXT_MODELS, "qwen-image-edit-plus", "qwen-image-edit-max", "qwen-image-edit"])
def test_three_images_are_sent_in_order(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    images = tuple(InputImage(image_file(600, 400, colour=(c, c, c)), "image/png") for c in (10, 20, 30))
    generated(studio, clock, model, images=images)
    content = studio.requests[0].body["input"]["messages"][0]["content"]
    assert [list(item) for item in content] == [["image"], ["image"], ["image"], ["text"]]
    assert len({item["image"] for item in content[:3]}) == 3


@pytest.mark.parametrize("model", JOB_MODELS)
def test_a_job_is_polled_through_all_states(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["PENDING", "SUSPENDED", "RUNNING", "SUCCEEDED"]
    found = backend(studio, clock, model)
    job = submitted(found, seed=7)
    assert MARKER_KEY not in json.dumps(job)
    assert "base64" not in json.dumps(job)
    trail = begin_trail()
    states = [found.check(job)]
    queued, trail.queued_at = trail.queued_at, None
    states += [found.check(job) for _ in range(3)]
    assert queued is not None
    assert trail.queued_at is None
    assert states[:3] == [Running("queued"), Running("running"), Running("running")]
    assert isinstance(states[3], ImageResult)
    assert states[3].prompt == PROMPT


@pytest.mark.parametrize("model", ["qwen-image-2.0", "qwen-image-max", "qwen-image-edit"])
def test_models_without_tasks_return_the_result_on_submit(
    model: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    found = backend(studio, clock, model)
    assert isinstance(found.submit(ask(found)), ImageResult)


def test_a_job_is_polled_often_only_near_the_usual_end(studio: FakeModelStudio, clock: FakeClock) -> None:
    model = backend(studio, clock, "qwen-image-3.0")
    assert [model.interval(age) for age in (0, 6, 7.8, 30, 75)] == [1.0, 1.5, 0.4, 0.4, 0.5]
    studio.statuses = ["RUNNING"] * 40 + ["SUCCEEDED"]
    began = clock.now()
    generated(studio, clock, "qwen-image-3.0")
    took = clock.now() - began
    assert 10 < took < 40
    assert [model.interval(age) for age in (0.7 * took, took, 1.2 * took)] == [pytest.approx(0.1 * took), 0.4, 0.4]
    assert backend(studio, clock, "qwen-image-3.0-pro").interval(20) == 5.0, "every model has a duration of its own"


def test_all_jobs_of_an_account_share_its_rate_of_polls(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["SUCCEEDED"]
    model = backend(studio, clock, "qwen-image-3.0")
    jobs = [submitted(model) for _ in range(30)]
    began = clock.now()
    for job in jobs:
        assert isinstance(model.check(job), ImageResult)
    assert clock.now() - began >= 29 / 10 - 0.01, "the service allows 20 in a second, other processes included"


def test_a_random_seed_is_drawn_within_the_service_and_reported(studio: FakeModelStudio, clock: FakeClock) -> None:
    (image,) = generated(studio, clock).images
    assert image.seed == studio.requests[0].body["parameters"]["seed"]


@pytest.mark.parametrize("apart", [False, True])
def test_every_image_of_every_choice_is_returned(apart: bool, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.choices_apart = apart
    assert len(generated(studio, clock, n=3).images) == 3


def test_a_rewritten_prompt_is_reported(studio: FakeModelStudio, clock: FakeClock) -> None:
    (image,) = generated(studio, clock, "qwen-image-plus").images
    assert image.revised_prompt == f"{PROMPT}, in fine detail"


def test_results_are_downloaded_without_the_key_and_with_the_exact_query(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    generated(studio, clock)
    (fetched,) = studio.of_kind("download")
    assert "authorization" not in fetched.headers
    assert fetched.path.endswith(f".png?{SIGNATURE}")


def test_a_dated_snapshot_can_be_a_customizable_model(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = own(studio, clock, "poster", "qwen-image-2.0-pro-2026-06-22")
    assert found.rules() == backend(studio, clock, "qwen-image-2.0-pro").rules()
    assert found.invoke(ask(found)).model == "poster"
    assert studio.requests[0].body["model"] == "qwen-image-2.0-pro-2026-06-22"


# Several calls


class AnsweringClock(FakeClock):
    """A clock on which pending requests get their reply before a pause ends."""

    def __init__(self, studio: FakeModelStudio) -> None:
        super().__init__()
        self.studio = studio

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        before = len(self.pauses)
        with gevent.Timeout(10):
            while self.studio.in_work or len(self.studio.of_kind("generate")) < before:
                gevent.sleep(0.001)
            gevent.sleep(0.05)  # the caller reads the answers


def test_calls_of_one_request_run_in_parallel(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.delay("generate", 0.1, times=4)
    result = generated(studio, clock, "qwen-image-edit", n=4, seed=5)
    assert [image.seed for image in result.images] == [5, 6, 7, 8]
    assert studio.most_at_once == 4
    assert clock.pauses == [0.5, 0.5, 0.5]  # 120 requests a minute


def test_a_model_with_one_image_per_call_is_called_within_its_rate(studio: FakeModelStudio, clock: FakeClock) -> None:
    """qwen-image-max takes two requests a minute."""
    result = generated(studio, clock, "qwen-image-max", n=3, seed=5)
    assert [image.seed for image in result.images] == [5, 6, 7]
    assert clock.pauses == [30.0, 30.0]


def test_several_tasks_form_one_job(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["RUNNING", "SUCCEEDED"]
    found = backend(studio, clock, "qwen-image-plus")
    job = submitted(found, n=3, seed=5)
    assert found.check(job) == Running("running, 0 of 3 finished")
    result = found.check(job)
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == [5, 6, 7]


def test_the_images_of_finished_tasks_are_downloaded_once(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "qwen-image-plus")
    studio.per_task = ["SUCCEEDED", "RUNNING"]
    job = submitted(found, n=2)
    assert [found.check(job) for _ in range(2)] == [Running("running, 1 of 2 finished")] * 2
    assert studio.of_kind("download") == []
    studio.finish_tasks()
    assert isinstance(found.check(job), ImageResult)
    assert len(studio.of_kind("download")) == 2


def test_a_failed_task_does_not_affect_the_others(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "qwen-image-plus")
    studio.per_task = ["SUCCEEDED", "FAILED", "UNKNOWN"]
    job = submitted(found, n=3)
    result = found.check(job)
    assert isinstance(result, ImageResult)
    assert len(result.images) == 1
    assert result.notices[1] == "1 of 3 images came back."
    assert "as told" in result.notices[2]
    assert "no longer has the job" in result.notices[3]


def test_a_task_that_cannot_be_polled_does_not_affect_the_others(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "qwen-image-plus")
    job = submitted(found, n=2)
    studio.fail("poll", 400, "InvalidParameter")
    result = found.check(job)
    assert isinstance(result, ImageResult)
    assert len(result.images) == 1


def test_finished_tasks_are_returned_on_timeout_and_the_others_cancelled(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.per_task = ["SUCCEEDED", "PENDING", "RUNNING"]
    result = generated(studio, clock, "qwen-image-plus", n=3, seed=5, timeout=20)
    assert [image.seed for image in result.images] == [5]
    assert "1 of 3 images came back." in result.notices
    assert "the time limit of the job has passed" in result.notices[-1]
    assert len(studio.of_kind("cancel")) == 2


def test_input_images_are_charged_only_for_successful_tasks(beijing: FakeModelStudio, clock: FakeClock) -> None:
    beijing.per_task = ["SUCCEEDED", "FAILED"]
    found = backend(beijing, clock, "qwen-image-3.0", dashscope_base_url="")
    assert found.invoke(ask(found, images=(PHOTO,), n=8)).price == Price(Decimal("1.10"), "CNY")


def test_paid_images_are_kept_when_a_later_call_fails(studio: FakeModelStudio) -> None:
    clock = AnsweringClock(studio)
    studio.fail("generate", 400, "DataInspectionFailed", after=1, times=9)
    result = generated(studio, clock, "qwen-image-max", n=3)
    assert len(result.images) == 1
    assert result.notices[:2] == (EXPIRY, "1 of 3 images came back.")
    assert "content filter" in result.notices[2]
    assert len(studio.of_kind("generate")) == 2


def test_accepted_tasks_continue_when_a_later_one_is_refused(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.fail("submit", 400, "Arrearage", after=1)
    result = generated(studio, clock, "qwen-image-plus", n=2)
    assert len(result.images) == 1
    assert any("owes money" in notice for notice in result.notices)


def test_a_call_is_not_started_if_its_wait_exceeds_the_timeout(studio: FakeModelStudio, clock: FakeClock) -> None:
    result = generated(studio, clock, "qwen-image-max", n=3, timeout=45)
    assert len(result.images) == 2
    assert clock.pauses == [30.0]
    assert "time limit of the job has passed" in result.notices[2]


def test_a_partly_failed_task_returns_the_rest(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "wanx2.1-imageedit")
    made = FakeModelStudio._results(studio, {"input": {"prompt": "x"}, "parameters": {}}, studio._draw(1, (64, 64)))
    studio.final = {"results": [*made["results"], {"code": "DataInspectionFailed", "message": "blocked"}]}  # type: ignore[misc]
    result = found.invoke(ask(found, n=2))
    assert len(result.images) == 1
    assert "1 of 2 images came back." in result.notices
    assert any("blocked (DataInspectionFailed)" in notice for notice in result.notices)


def test_a_model_without_tasks_reports_its_shorter_timeout(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock)
    result = found.submit(ask(found, timeout=7200))
    assert isinstance(result, ImageResult)
    assert result.notices[0].startswith("`timeout` became 590 seconds")


# Price


@pytest.mark.parametrize(
    ("model", "more", "price"),
    [
        ("qwen-image-2.0", {"n": 2}, "0.40"),
        ("qwen-image-3.0-pro", {}, "0.25"),
        ("qwen-image-3.0-pro", {"width": 2048, "height": 2048}, "0.50"),
        ("qwen-image-3.0", {"images": (PHOTO, PHOTO)}, "0.22"),
        ("wanx2.1-imageedit", {}, "0.14"),
    ],
)
def test_the_price_follows_size_and_input_images(
    model: str, more: dict[str, Any], price: str, beijing: FakeModelStudio, clock: FakeClock
) -> None:
    found = backend(beijing, clock, model, dashscope_base_url="")
    result = found.invoke(ask(found, **more))
    assert result.price == Price(Decimal(price), "CNY")


def test_a_synchronous_call_is_charged_for_its_input_images(beijing: FakeModelStudio, clock: FakeClock) -> None:
    beijing.key = f"sk-sp-{MARKER_KEY}"
    found = backend(beijing, clock, "qwen-image-3.0", dashscope_base_url="", dashscope_api_key=beijing.key)
    assert found.invoke(ask(found, images=(PHOTO, PHOTO))).price == Price(Decimal("0.22"), "CNY")


def test_singapore_has_its_own_prices(beijing: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(beijing, clock, dashscope_base_url="", dashscope_region="singapore")
    assert found.invoke(ask(found)).price == Price(Decimal("0.256873"), "CNY")


def test_an_unknown_region_uses_the_price_of_the_card(studio: FakeModelStudio, clock: FakeClock) -> None:
    assert generated(studio, clock).price is None


# Access


def test_the_key_check_generates_nothing(studio: FakeModelStudio, clock: FakeClock) -> None:
    backend(studio, clock).check_access()
    assert [request.path for request in studio.requests] == ["/api/v1/models?page_no=1&page_size=1"]


def test_the_key_check_reports_the_request_format_of_an_unknown_model(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    assert backend(studio, clock).check_access() == ()
    assert own(studio, clock, "qwen-image-2.0-2026-03-03").check_access() == ()
    assert own(studio, clock, "qwen-image-4.0").check_access() == (
        "qwen-image-4.0 is not a known model; it is treated like qwen-image-2.0.",
    )


def test_the_key_check_falls_back_to_the_compatible_list(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.lists_models = False
    backend(studio, clock).check_access()
    assert [request.kind for request in studio.requests] == ["models", "compatible"]


def test_a_bad_key_fails_the_check(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.key = "sk-another"
    with pytest.raises(AuthorizationFailed, match=r"check .*\(dashscope_api_key\) and .*\(dashscope_base_url\)"):
        backend(studio, clock).check_access()


def test_another_service_at_the_address_is_not_a_bad_key(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("models", 200, "<html>a router's login page</html>", "text/html")
    with pytest.raises(ServerUnavailable, match="the reply was not understood"):
        backend(studio, clock).check_access()


def test_a_key_of_another_region_is_explained(beijing: FakeModelStudio, clock: FakeClock) -> None:
    beijing.key = "sk-of-singapore"
    with pytest.raises(AuthorizationFailed) as caught:
        backend(beijing, clock, dashscope_base_url="").check_access()
    assert "InvalidApiKey" in caught.value.said
    assert "refused by Beijing" in caught.value.next_step
    assert (
        "if it was made in Singapore or US (Virginia), choose that in “Model Studio region” (dashscope_region)"
        in caught.value.next_step
    )


def test_a_token_plan_key_uses_synchronous_calls_and_the_compatible_list(clock: FakeClock) -> None:
    key = f"sk-sp-{MARKER_KEY}"
    with model_studio(key=key) as server:
        found = backend(server, clock, "qwen-image-3.0", dashscope_api_key=key)
        found.check_access()
        assert isinstance(found.submit(ask(found)), ImageResult)
    assert [request.kind for request in server.requests] == ["compatible", "generate", "download"]


def test_a_token_plan_key_at_another_host_gives_the_right_address(beijing: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(beijing, clock, dashscope_base_url="", dashscope_api_key="sk-sp-xyzxyzxyz")
    with pytest.raises(AuthorizationFailed, match=r"token-plan\.cn-beijing\.maas\.aliyuncs\.com/api/v1"):
        found.check_access()


def test_an_empty_key_names_the_field_before_anything_is_sent(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, dashscope_api_key="")
    with pytest.raises(BadRequest, match=r"Fill .*\(dashscope_api_key\) in the provider's settings"):
        found.invoke(ask(found))
    assert studio.requests == []


def test_a_region_that_does_not_exist_is_refused(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, dashscope_base_url="", dashscope_region="mars")
    with pytest.raises(BadRequest, match=r"Choose one of beijing, singapore, us in .*\(dashscope_region\)"):
        found.invoke(ask(found))


def test_a_model_that_the_region_does_not_offer_is_refused_with_the_regions_that_do(
    beijing: FakeModelStudio, clock: FakeClock
) -> None:
    found = backend(beijing, clock, "wanx2.1-imageedit", dashscope_base_url="", dashscope_region="singapore")
    with pytest.raises(BadRequest, match=r"wanx2\.1-imageedit is offered in Beijing, not in Singapore"):
        found.invoke(ask(found))
    assert beijing.requests == []


# Trouble


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (400, "InvalidParameter", BadRequest, "Check the size"),
        (400, "InvalidURL.ConnectionRefused", BadRequest, "Use another image"),
        (400, "InvalidImage.FileFormat", BadRequest, "Use another image"),
        (400, "BadRequest.TooLarge", BadRequest, "Use another image"),
        (400, "BadRequest.EmptyInput", BadRequest, "Check the size"),
        (400, "InvalidParameter.DataInspection", BadRequest, "Use another image"),
        (400, "DataInspectionFailed", BadRequest, "content filter"),
        (400, "data_inspection_failed", BadRequest, "content filter"),
        (400, "IPInfringementSuspect", BadRequest, "content filter"),
        (400, "Arrearage", RateLimited, "owes money"),
        (400, "Throttling.AllocationQuota", RateLimited, "quota is used up"),
        (401, "InvalidApiKey", AuthorizationFailed, "same region"),
        (401, "invalid_api_key", AuthorizationFailed, "same region"),
        (401, "NOT AUTHORIZED", AuthorizationFailed, "another workspace"),
        (403, "AccessDenied", AuthorizationFailed, "grant it to the workspace"),
        (403, "AccessDenied.Unpurchased", AuthorizationFailed, "Activate Model Studio"),
        (403, "Model.AccessDenied", AuthorizationFailed, "grant it to the workspace"),
        (403, "AllocationQuota.FreeTierOnly", RateLimited, "free tier only"),
        (404, "ModelNotFound", BadRequest, "offered in Beijing and Singapore"),
        (404, "model_not_found", BadRequest, "offered in Beijing and Singapore"),
        (429, "Throttling.AllocationQuota", RateLimited, "quota is used up"),
        (429, "insufficient_quota", RateLimited, "quota is used up"),
        (429, "PostpaidBillOverdue", RateLimited, "owes money"),
        (500, "RequestTimeOut", ServerUnavailable, "own time limit has passed"),
        (500, "InternalError.Timeout", ServerUnavailable, "own time limit has passed"),
        (418, "SomethingNew", BadRequest, "Change the request"),
    ],
)
def test_a_persistent_refusal_is_reported_once_with_the_next_step(
    status: int, code: str, kind: type[ImageError], words: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.fail("generate", status, code, f"no, {MARKER_KEY}", times=9)
    error = failed(studio, clock)
    assert type(error) is kind
    assert error.said == f"no, [hidden] ({code}, request e20)"
    assert words in error.next_step
    assert len(studio.of_kind("generate")) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"code": "AccessDenied", "message": "Access denied, please make sure your account is in good standing."},
        {"error": {"code": "access_denied", "message": "Access denied, overdue payment"}},
        {"error": {"type": "new_api_error", "message": "insufficient balance of the token"}},
        {"error": "no credit left"},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403])
def test_an_account_without_credit_is_not_an_authorization_error(
    status: int, body: dict[str, object], studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.answer("generate", status, json.dumps(body))
    error = failed(studio, clock)
    assert type(error) is RateLimited
    assert "top it up" in error.next_step


@pytest.mark.parametrize(
    ("body", "kind", "said", "advice"),
    [
        (
            {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."},
            BadRequest,
            "Output data may contain inappropriate content. (DataInspectionFailed)",
            "content filter",
        ),
        (
            {"output": {}, "code": "Arrearage", "message": "Overdue.", "request_id": "r-1"},
            RateLimited,
            "Overdue. (Arrearage, request r-1)",
            "top it up",
        ),
        ({"error": {"code": "invalid_api_key", "message": "bad key"}}, AuthorizationFailed, "bad key", "same region"),
        ({"message": "the upstream is tired"}, ServerUnavailable, "the upstream is tired", "Try again"),
    ],
)
@pytest.mark.parametrize(("request_kind", "model"), [("generate", "qwen-image-2.0"), ("submit", "qwen-image-plus")])
def test_a_refusal_with_status_200_keeps_its_class_and_message(
    request_kind: str,
    model: str,
    body: dict[str, object],
    kind: type[ImageError],
    said: str,
    advice: str,
    studio: FakeModelStudio,
    clock: FakeClock,
) -> None:
    studio.answer(request_kind, 200, json.dumps(body))
    error = failed(studio, clock, model)
    assert type(error) is kind
    assert error.said.startswith(said)
    assert advice in error.next_step
    assert len(studio.of_kind(request_kind)) == 1


@pytest.mark.parametrize("content", [[{"text": "I cannot paint this."}], "I cannot paint this."])
def test_a_text_reply_is_a_refusal(content: object, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("generate", 200, json.dumps({"output": {"choices": [{"message": {"content": content}}]}}))
    error = failed(studio, clock)
    assert type(error) is BadRequest
    assert error.said == "I cannot paint this."
    assert "try again" not in str(error).lower()


def test_a_task_with_a_text_result_is_a_refusal(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.final = {"choices": [{"message": {"content": [{"text": "I cannot paint this."}]}}]}
    error = failed(studio, clock, "qwen-image-3.0")
    assert (type(error), error.said) == (BadRequest, "I cannot paint this.")


def test_text_with_an_image_is_not_a_refusal(studio: FakeModelStudio, clock: FakeClock) -> None:
    (url,) = studio._draw(1, (64, 64))
    content = [{"text": "Here it is."}, {"image": url}]
    studio.answer("generate", 200, json.dumps({"output": {"choices": [{"message": {"content": content}}]}}))
    assert len(generated(studio, clock).images) == 1


def test_a_throttled_check_keeps_the_job(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("poll", 200, json.dumps({"code": "Throttling.RateQuota", "message": "slow down"}))
    assert generated(studio, clock, "qwen-image-3.0").images


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "Throttling", RateLimited),
        (429, "Throttling.RateQuota", RateLimited),
        (429, "limit_requests", RateLimited),
        (429, "Throttling.BurstRate", RateLimited),
        (500, "InternalError", ServerUnavailable),
        (500, "InternalError.Algo", ServerUnavailable),
        (503, "ModelUnavailable", ServerUnavailable),
    ],
)
def test_transient_errors_are_retried_and_reported_after_three_attempts(
    status: int, code: str, kind: type[ImageError], studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.fail("generate", status, code, times=2)
    assert generated(studio, clock).images
    studio.fail("generate", status, code, times=3)
    assert type(failed(studio, clock)) is kind


def test_models_with_a_limit_per_minute_wait_for_the_next_slot(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.throttle("generate")
    generated(studio, clock, "qwen-image-max")
    assert clock.pauses == [30.0]


def test_the_services_retry_after_takes_precedence(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.fail("generate", 429, "Throttling.RateQuota", headers={"Retry-After": "3"})
    generated(studio, clock)
    assert clock.pauses == [3.0]


def test_a_request_with_a_lost_reply_is_not_retried(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.drop("generate")
    assert isinstance(failed(studio, clock), ConnectionFailed)
    assert len(studio.of_kind("generate")) == 1


def test_a_request_that_times_out_is_not_retried(
    studio: FakeModelStudio, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.backends.qwen_image.client._SYNC_SECONDS", 0.1)
    studio.delay("generate", 0.5)
    error = failed(studio, clock)
    assert type(error) is ConnectionFailed
    assert "it may still have been processed" in error.said
    assert len(studio.of_kind("generate")) == 1


def test_an_unsent_request_is_retried(studio: FakeModelStudio, clock: FakeClock) -> None:
    """A refused connection sent no request, so a retry cannot be billed twice."""
    found = backend(studio, clock)
    studio.stop()
    with pytest.raises(ConnectionFailed, match="could not be reached"):
        found.invoke(ask(found))
    assert len(clock.pauses) == 2


def test_an_unreachable_address_names_its_field(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("generate", 404, "Not Found", "text/plain")
    error = failed(studio, clock)
    assert error.next_step == (
        "Check “Model Studio base URL” (dashscope_base_url) in the provider's settings: it must end in /api/v1"
    )


def test_html_of_a_gateway_is_never_the_message(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("generate", 502, "<html>Bad Gateway</html>", "text/html", times=9)
    error = failed(studio, clock)
    assert type(error) is ServerUnavailable
    assert error.said == "HTTP 502"


def test_an_unsupported_call_is_a_bad_request(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.fail("generate", 403, "AccessDenied", "current user api does not support synchronous calls")
    error = failed(studio, clock)
    assert type(error) is BadRequest
    assert "does not support this kind of call" in error.next_step


def test_an_unknown_customizable_model_is_named(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = own(studio, clock, "qwen-image-99")
    with pytest.raises(BadRequest, match=r"Check the model's name \(qwen-image-99\)"):
        found.invoke(ask(found))


@pytest.mark.parametrize("body", ['{"output":{"choices":[]}}', '{"output":{"choices":[{"message":{"content":[]}}]}}'])
def test_success_without_an_image_is_an_error(body: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("generate", 200, body)
    error = failed(studio, clock)
    assert type(error) is ServerUnavailable
    assert "without an image" in error.said


def test_a_task_without_an_id_is_an_error(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("submit", 200, '{"output":{"task_status":"PENDING"}}')
    assert "without returning its id" in failed(studio, clock, "qwen-image-plus").said


def test_an_invalid_reply_is_reported(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("generate", 200, '{"request_id":"req-1"}')
    assert "was not understood (output" in failed(studio, clock).said


# Results


def test_an_expired_url_is_reported(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "qwen-image-plus")
    job = submitted(found)
    studio.forget_images()
    with pytest.raises(ServerUnavailable, match="HTTP 403") as caught:
        found.check(job)
    assert "24 hours" in caught.value.next_step
    assert not caught.value.transient


def test_a_lost_connection_while_downloading_is_retried(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.drop("download", times=2)
    assert generated(studio, clock).images


def test_a_transient_download_error_keeps_the_job(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("download", 503, "busy", times=3)
    found = backend(studio, clock, "qwen-image-plus")
    job = submitted(found)
    for _ in range(3):
        with pytest.raises(ServerUnavailable) as caught:
            found.check(job)
        assert caught.value.transient
    assert isinstance(found.check(job), ImageResult)


def test_a_download_that_is_not_an_image_is_an_error(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("download", 200, "<html>login</html>", "text/html")
    assert "HTML page" in failed(studio, clock).said


def test_one_broken_download_does_not_affect_the_other(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.answer("download", 200, "", "image/png")
    result = generated(studio, clock, n=2)
    assert len(result.images) == 1
    assert "1 of 2 images came back." in result.notices


def fetched(base_url: str, entry: ResultEntry, clock: FakeClock) -> Partial:
    """The image that a service at that address returns for one entry of a result."""
    account = qwen("qwen-image-2.0", {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": base_url}, clock)
    output = Output(results=(entry,))
    return account.studio.images(output, 1, deadline=Deadline.after(clock, 1))


@responses.activate
def test_result_urls_of_a_public_service_are_fetched_over_https(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [(0, 0, 0, "", ("93.184.216.34", 0))])
    responses.get(f"https://images.test/1.png?{SIGNATURE}", body=PHOTO.data)
    named = ResultEntry(url=f"http://images.test/1.png?{SIGNATURE}")
    (image,) = fetched("https://dashscope.test/api/v1", named, clock).images
    assert image.url == f"https://images.test/1.png?{SIGNATURE}"


@pytest.mark.parametrize(
    "url", ["http://203.0.113.7/1.png", "https://127.0.0.1/1.png", "https://10.0.0.8/1.png", "ftp://8.8.8.8/1.png"]
)
def test_a_public_service_cannot_name_private_addresses(url: str, clock: FakeClock) -> None:
    made = fetched("https://8.8.8.8/api/v1", ResultEntry(url=url), clock)
    assert made.images == ()
    assert re.search("not a public address|not an http", str(made.failures[0]))
    assert type(made.failures[0]) is ServerUnavailable


# Tasks


def test_a_failed_task_is_reported_with_its_code(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["RUNNING", "FAILED"]
    studio.final = {"code": "DataInspectionFailed", "message": "blocked"}
    error = failed(studio, clock, "qwen-image-3.0")
    assert type(error) is BadRequest
    assert error.said == "blocked (DataInspectionFailed)"


def test_a_task_with_an_internal_error_is_a_server_error(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["FAILED"]
    assert type(failed(studio, clock, "qwen-image-plus")) is ServerUnavailable
    assert len(studio.of_kind("poll")) == 1


@pytest.mark.parametrize("code", ["InternalError.Algo", "Throttling.RateQuota"])
def test_a_task_that_has_failed_is_not_looked_at_again_whatever_the_reason(
    code: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.statuses, studio.final = ["FAILED"], {"code": code}
    failed(studio, clock, "qwen-image-plus")
    assert len(studio.of_kind("poll")) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [("UNKNOWN", "no longer has the job"), ("CANCELED", "cancelled at the service"), ("NEW", r"the job \(NEW\)")],
)
def test_a_lost_or_cancelled_task_ends_the_job(
    status: str, words: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.statuses = [status]
    found = backend(studio, clock, "qwen-image-plus")
    job = submitted(found)
    with pytest.raises(ServerUnavailable, match=words) as caught:
        found.check(job)
    assert not caught.value.transient


@pytest.mark.parametrize(("status", "code"), [(503, "ModelUnavailable"), (504, ""), (429, "Throttling.RateQuota")])
def test_an_error_during_a_check_keeps_the_job(
    status: int, code: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    studio.fail("poll", status, code, times=7)
    assert generated(studio, clock, "qwen-image-3.0").images


def test_a_queued_task_is_cancelled_on_timeout(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["PENDING"]
    error = failed(studio, clock, "qwen-image-plus", timeout=20)
    assert isinstance(error, ConnectionFailed)
    assert "last known state: queued" in error.said
    assert len(studio.of_kind("cancel")) == 1


def test_a_running_task_cannot_be_cancelled_and_is_reported(studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["RUNNING"]
    error = failed(studio, clock, "qwen-image-plus", timeout=20)
    assert "could not be cancelled (task is not pending (UnsupportedOperation" in error.said


def test_every_task_is_cancelled_even_if_one_cancellation_fails(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend(studio, clock, "qwen-image-plus")
    studio.statuses = ["PENDING"]
    job = submitted(found, n=3)
    studio.fail("cancel", 400, "UnsupportedOperation")
    with pytest.raises(BadRequest, match="only be cancelled while it is queued"):
        found.cancel(job)
    assert len(studio.of_kind("cancel")) == 3


def test_another_process_finishes_the_job_from_its_state(studio: FakeModelStudio, clock: FakeClock) -> None:
    job = submitted(backend(studio, clock, "qwen-image-plus"), seed=9)
    travelled = json.loads(json.dumps(job))
    result = backend(studio, FakeClock(), "qwen-image-plus").check(travelled)
    assert isinstance(result, ImageResult)
    assert result.images[0].seed == 9


# Input images


def phone_photo() -> InputImage:
    """Twelve megapixels in portrait orientation, stored in landscape with an EXIF rotation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return InputImage(image_file(4032, 3024, kind="JPEG", exif=exif), "image/jpeg", "IMG_0001.jpg")


@pytest.mark.parametrize("model", ["qwen-image-edit-plus", "qwen-image-3.0", "wanx2.1-imageedit"])
def test_a_phone_photo_is_edited_upright(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    (image,) = generated(studio, clock, model, images=(phone_photo(),)).images
    width, height = image.size
    assert 0.73 < width / height < 0.77


def test_an_image_too_large_for_a_data_url_is_compressed_with_a_notice(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    large = InputImage(noise(2400, 1600), "image/png", "noise.png")
    assert len(large.data) > 8_000_000
    result = generated(studio, clock, images=(large,))
    assert any(notice.startswith("noise.png was") for notice in result.notices)


def test_a_small_image_is_upscaled_to_512_pixels_for_wan(studio: FakeModelStudio, clock: FakeClock) -> None:
    small = InputImage(image_file(300, 200), "image/png", "small.png")
    mask = InputImage(image_file(300, 200, mode="L", colour=120), "image/png", "mask.png")
    result = generated(studio, clock, "wanx2.1-imageedit", images=(small,), mask=mask)
    assert any("small.png was scaled from 300×200" in notice for notice in result.notices)


# Masks


def test_the_white_part_of_a_mask_is_repainted(studio: FakeModelStudio, clock: FakeClock) -> None:
    drawn = Image.new("L", (1200, 800), 0)
    drawn.paste(255, (100, 100, 300, 300))
    out = io.BytesIO()
    drawn.save(out, "PNG")
    mask = InputImage(out.getvalue(), "image/png", "mask.png")
    generated(studio, clock, "wanx2.1-imageedit", mask=mask)
    assert studio.requests[0].body["input"]["function"] == "description_edit_with_mask"


def test_a_mask_becomes_black_and_white_and_another_shape_gives_a_notice(
    studio: FakeModelStudio, clock: FakeClock
) -> None:
    """The fake server refuses grey values and other sizes."""
    mask = InputImage(image_file(500, 500, mode="L", colour=250, kind="JPEG"), "image/jpeg", "mask.jpg")
    result = generated(studio, clock, "wanx2.1-imageedit", mask=mask)
    assert "The mask of 500×500 was stretched over the image of 1200×800." in result.notices


def test_a_model_without_masks_refuses_one(studio: FakeModelStudio, clock: FakeClock) -> None:
    with pytest.raises(BadRequest, match="does not support masks"):
        generated(studio, clock, "qwen-image-edit-plus", mask=PHOTO)
