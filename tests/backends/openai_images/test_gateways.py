"""Gateways: addresses of every form, aliases, errors with unusual statuses, replies that return a task."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping

import pytest
import requests
import responses

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.openai_images import OpenAIImages
from models.backends.openai_images.detect import Address
from models.entities import ImageResult, InputImage
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file

HOST = "https://gate.test"
ANYTHING = re.compile(r"https://gate\.test/.*")
PNG = image_file(96, 64)
B64 = b64encode(PNG).decode()
IMAGE = {"data": [{"b64_json": B64}]}
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


def bound(
    base_url: str = HOST,
    model: str = "kettle-painter",
    *,
    key: str = MARKER_KEY,
    dialect: str = "openai",
    clock: FakeClock | None = None,
) -> OpenAIImages:
    form = {"backend": "openai_images", "base_url": base_url, "api_key": key, "dialect": dialect}
    backend = asking.bound(model, form, clock or FakeClock())
    assert isinstance(backend, OpenAIImages)
    return backend


def generate(backend: OpenAIImages, **parts: object) -> ImageResult:
    backend.require_access()
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a copper kettle", **{"timeout": 60.0, **parts}))


def answers(body: object, status: int = 200, url: str = f"{HOST}/v1/images/generations", **headers: str) -> None:
    responses.post(url, json=body, status=status, headers=headers)


def sent(place: int = -1) -> dict[str, object]:
    body = json.loads(responses.calls[place].request.body or b"")
    assert isinstance(body, dict)
    return body


def failure(backend: OpenAIImages | None = None, **parts: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        generate(backend or bound(), **parts)
    assert MARKER_KEY not in str(caught.value)
    return caught.value


# ---- addresses


@pytest.mark.parametrize(
    ("pasted", "root", "path"),
    [
        ("http://gpu:8091", "http://gpu:8091", "v1/images/edits"),
        ("http://gpu:8091/", "http://gpu:8091", "v1/images/edits"),
        ("https://gate.test/llm", "https://gate.test/llm", "v1/images/edits"),
        ("https://gate.test/llm/v1/", "https://gate.test/llm", "v1/images/edits"),
        ("https://gate.test/v1/models", "https://gate.test", "v1/images/edits"),
        ("https://gate.test/v1/images/generations", "https://gate.test", "v1/images/edits"),
        ("https://gate.test/v1/chat/completions", "https://gate.test", "v1/images/edits"),
        ("https://gate.test/api/v3", "https://gate.test/api", "v3/images/edits"),
        ("https://gate.test/api/v3/images/generations/", "https://gate.test/api", "v3/images/edits"),
        ("https://gate.test/api/paas/v4", "https://gate.test/api/paas", "v4/images/edits"),
        ("https://gate.test/v1beta/openai", "https://gate.test", "v1beta/openai/images/edits"),
        ("https://gate.test/v1/account/gateway/openai", "https://gate.test", "v1/account/gateway/openai/images/edits"),
        ("https://gate.test/images/generations", "https://gate.test", "images/edits"),
        ("https://gate.test/openai/deployments/k", "https://gate.test", "openai/deployments/k/images/edits"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai", "v1/images/edits"),
    ],
)
def test_an_address_is_accepted_in_every_pasted_form(pasted: str, root: str, path: str) -> None:
    address = Address.of(pasted)
    assert (address.root, address.path("images/edits")) == (root, path)
    assert address.query == {}


@responses.activate
@pytest.mark.parametrize("version", ["/api/v3", "/api/paas/v4", "/v1beta/openai", "/v1", "/openai/v1"])
@pytest.mark.parametrize("tail", ["", "/", "/images/generations"])
def test_other_api_versions_in_the_path_are_kept(version: str, tail: str) -> None:
    answers(IMAGE, url=f"{HOST}{version}/images/generations")
    assert generate(bound(f"{HOST}{version}{tail}")).images


DEPLOYMENT = f"{HOST}/openai/deployments/kettle"
VERSIONED = "api-version=2025-04-01-preview"


@responses.activate
@pytest.mark.parametrize("tail", ["", "/images/generations", "/images/edits"])
def test_a_deployments_address_is_used_with_its_query_and_names_the_model_itself(tail: str) -> None:
    responses.post(f"{DEPLOYMENT}/images/generations?{VERSIONED}", json=IMAGE)
    responses.post(f"{DEPLOYMENT}/images/edits?{VERSIONED}", json=IMAGE)
    backend = bound(f"{DEPLOYMENT}{tail}?{VERSIONED}", "gpt-image-1.5")
    assert generate(backend).images
    assert "model" not in sent()
    request = responses.calls[-1].request
    assert request.headers["api-key"] == MARKER_KEY
    assert "Authorization" not in request.headers
    assert generate(backend, images=(PHOTO,)).images
    assert b'name="model"' not in (responses.calls[-1].request.body or b"")


@responses.activate
def test_azures_own_path_names_the_deployment_as_the_model() -> None:
    host = "https://r.openai.azure.com/openai/v1"
    answers(IMAGE, url=f"{host}/images/generations")
    generate(bound(host, "kettle"))
    assert sent()["model"] == "kettle"
    assert responses.calls[-1].request.headers["api-key"] == MARKER_KEY


@responses.activate
def test_a_key_pasted_with_its_scheme_is_sent_once() -> None:
    answers(IMAGE)
    generate(bound(key=f"Bearer {MARKER_KEY}"))
    assert responses.calls[-1].request.headers["Authorization"] == f"Bearer {MARKER_KEY}"


# ---- saving the form


@responses.activate
@pytest.mark.parametrize("base_url", [f"{HOST}/api/v3", HOST, f"{DEPLOYMENT}/images/generations?{VERSIONED}"])
@pytest.mark.parametrize("dialect", ["auto", "openai"])
def test_an_address_without_an_images_api_is_refused_with_the_tried_paths(base_url: str, dialect: str) -> None:
    responses.get(url=ANYTHING, status=404)
    responses.post(url=ANYTHING, status=404, json={})
    with pytest.raises(BadRequest, match="replies like the OpenAI images API") as caught:
        bound(base_url, dialect=dialect).check_access()
    assert "/images/generations exists" in caught.value.said
    assert "(base_url) in the model's settings" in caught.value.next_step


@responses.activate
def test_a_web_page_for_every_path_is_not_an_images_api() -> None:
    responses.get(url=ANYTHING, body="<html></html>", content_type="text/html")
    responses.post(url=ANYTHING, body="<html></html>", content_type="text/html")
    with pytest.raises(BadRequest, match="replies like the OpenAI images API"):
        bound().check_access()


@responses.activate
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "prompt is required"}}),
        (422, {"detail": "not an object"}),
        (500, {}),
        (404, {"error": {"message": "no model", "code": "model_not_found"}}),
    ],
)
def test_a_service_without_a_model_list_is_checked_by_its_endpoint_without_generating(
    status: int, body: object
) -> None:
    responses.get(url=ANYTHING, status=404)
    answers(body, status, f"{HOST}/api/v3/images/generations")
    assert "could not be checked" in bound(f"{HOST}/api/v3").check_access()[-1]
    assert json.loads(responses.calls[-1].request.body or b"") == []


@responses.activate
def test_a_key_that_the_endpoint_refuses_is_a_wrong_key() -> None:
    responses.get(url=ANYTHING, status=404)
    answers({"error": {"message": "no such key"}}, 401)
    with pytest.raises(AuthorizationFailed, match="no such key"):
        bound().check_access()


# ---- parameters that an alias refuses

UNKNOWN = {
    "message": "Unknown parameter: 'response_format'.",
    "type": "invalid_request_error",
    "param": "response_format",
    "code": "unknown_parameter",
}


@responses.activate
@pytest.mark.parametrize(
    "error",
    [
        UNKNOWN,
        {"message": "litellm.BadRequestError: response_format is not supported for model kettle", "code": "400"},
        {"message": "不支持的参数 `response_format`"},
        {"message": "Unrecognized request argument supplied: response_format", "param": None},
    ],
)
def test_a_parameter_refused_by_an_alias_is_omitted_and_cached(error: Mapping[str, object]) -> None:
    clock = FakeClock()
    answers({"error": error}, 400)
    answers(IMAGE)
    assert generate(bound(clock=clock)).images
    assert [("response_format" in sent(place)) for place in (0, 1)] == [True, False]
    generate(bound(clock=clock))
    assert "response_format" not in sent()
    assert len(responses.calls) == 3


@responses.activate
def test_all_refused_parameters_are_omitted_in_one_retry() -> None:
    error = {"message": "Parameters ['response_format', 'n'] are not supported for model kettle", "code": "400"}
    answers({"error": error}, 400)
    answers({"error": UNKNOWN}, 400)
    assert isinstance(failure(), BadRequest)
    assert set(sent()) == {"model", "prompt"}
    assert len(responses.calls) == 2


@responses.activate
def test_a_refused_parameter_that_was_not_sent_causes_no_retry() -> None:
    answers({"error": UNKNOWN}, 400)
    failure(bound(model="gpt-image-1.5"))
    assert len(responses.calls) == 1


@responses.activate
def test_an_edit_is_retried_without_the_refused_parameter() -> None:
    url = f"{HOST}/v1/images/edits"
    answers({"error": UNKNOWN}, 400, url)
    answers(IMAGE, url=url)
    assert generate(bound(), images=(PHOTO,)).images
    assert b'name="response_format"' not in (responses.calls[-1].request.body or b"")


@responses.activate
@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "Invalid size '96x64'"), (400, "n must be 1"), (500, "'response_format' crashed"), (403, "response_format")],
)
def test_no_other_refusal_is_retried(status: int, message: str) -> None:
    answers({"error": {"message": message}}, status)
    failure(n=2)
    assert len(responses.calls) == 1


# ---- no credit, rate limit, unknown model: with any status

NO_CREDIT = [
    (403, {"message": "用户额度不足，剩余额度：0", "type": "new_api_error", "code": "insufficient_user_quota"}),
    (401, {"message": "该令牌额度已用尽 TokenStatusExhausted[sk-***]", "type": "new_api_error"}),
    (
        403,
        {"message": "The request failed because your account has an overdue balance.", "code": "AccountOverdueError"},
    ),
    (402, {"message": "Payment Required"}),
    (402, {}),
    (429, {"message": "You have no credits remaining. Add credits to continue using the API."}),
    (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    (400, {"message": "Arrearage: Access denied, please make sure your account is in good standing."}),
    (403, {"message": "pre-consume failed", "code": "pre_consume_token_quota_failed"}),
    (500, {"message": "余额不足，请充值"}),
    (403, {"message": "Your credit balance is too low to access the API."}),
    (403, {"message": "Quota exceeded for this key"}),
    (200, {"message": "insufficient balance", "code": 30001}),
]


@responses.activate
@pytest.mark.parametrize(("status", "error"), NO_CREDIT)
def test_an_account_without_credit_is_reported(status: int, error: Mapping[str, object]) -> None:
    answers({"error": error}, status)
    refused = failure()
    assert isinstance(refused, RateLimited)
    assert "no credit left" in refused.next_step
    assert f"HTTP {status}" in refused.said
    assert str(error.get("message", "")) in refused.said
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_rate_limit_is_retried_for_any_status(status: int) -> None:
    answers({"error": {"message": "Rate limit reached for this group", "code": "rate_limit_exceeded"}}, status)
    answers(IMAGE)
    assert generate(bound()).images


@responses.activate
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, {"message": "当前分组 vip 下对于模型 gpt-image-9 无可用渠道", "code": "model_not_found"}),
        (503, {"message": "当前分组 vip 下对于模型 gpt-image-9 无可用渠道（distributor）"}),
        (503, {"message": "No available channel for model gpt-image-9 under group default"}),
        (404, {"message": "The API deployment for this resource does not exist.", "code": "DeploymentNotFound"}),
        (400, {"message": "模型不存在，请检查模型代码。", "code": "1211"}),
        (200, {"message": "no such model", "code": "model_not_found"}),
    ],
)
def test_a_model_without_a_channel_names_the_model_field(status: int, error: Mapping[str, object]) -> None:
    answers({"error": error}, status)
    refused = failure()
    assert isinstance(refused, BadRequest)
    assert "(remote_model)" in refused.next_step
    assert str(error["message"]) in refused.said
    assert len(responses.calls) == 1


@responses.activate
def test_a_key_without_access_to_the_model_is_reported() -> None:
    answers({"error": {"message": "该令牌无权访问模型 gpt-image-9", "type": "new_api_error"}}, 403)
    refused = failure()
    assert isinstance(refused, AuthorizationFailed)
    assert "(remote_model)" in refused.next_step


# ---- errors with status 200


@responses.activate
@pytest.mark.parametrize(
    ("body", "error", "advice"),
    [
        (
            {"error": {"message": "Too many requests for this group", "code": "rate_limit_exceeded"}},
            RateLimited,
            "Wait",
        ),
        ({"error": {"message": "upstream error", "code": 500}}, ServerUnavailable, "may have been billed"),
        ({"error": {"message": "upstream request timeout"}}, ServerUnavailable, "may have been billed"),
        ({"error": "Not authenticated"}, AuthorizationFailed, "(api_key)"),
        ({"error": {"message": "blocked", "code": "moderation_blocked"}}, BadRequest, "content filter"),
        ({"code": 401, "message": "无效的令牌", "data": None}, AuthorizationFailed, "(api_key)"),
        ({"code": 1301, "msg": "系统检测到输入或生成内容可能包含不安全或敏感内容"}, BadRequest, "content filter"),
        ({"code": "fail", "message": "prompt is too long", "data": []}, BadRequest, "Change"),
        ([{"error": {"code": 429, "message": "Resource has been exhausted"}}], RateLimited, "Wait"),
        ({"created": 1, "data": [], "content_filter_results": {"hate": "flagged"}}, BadRequest, "content filter"),
    ],
)
def test_an_error_with_status_200_is_classified_by_its_message(
    body: object, error: type[ImageError], advice: str
) -> None:
    answers(body)
    refused = failure()
    assert type(refused) is error
    assert advice in refused.next_step
    assert "HTTP 4" not in str(refused)
    assert "HTTP 5" not in str(refused)


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        {"created": 1, "data": []},
        {"code": 200, "message": "success", "data": []},
        {"data": [{"url": "", "b64_json": "", "finish_reason": "no_draw"}]},
        {"choices": [{"message": {"content": "I would rather not."}}]},
    ],
)
def test_a_success_without_an_image_quotes_the_service_and_warns_about_billing(body: object) -> None:
    answers(body)
    refused = failure()
    assert isinstance(refused, ServerUnavailable)
    assert "success without an image" in refused.said
    assert "ry again" not in str(refused)
    for words in ("no_draw", "I would rather not"):
        assert (words in refused.said) == (words in json.dumps(body))


# ---- items with errors of their own

REFUSED_ITEM = {
    "error": {"code": "OutputImageSensitiveContentDetected", "message": "may contain sensitive information"}
}


@responses.activate
@pytest.mark.parametrize("item", [REFUSED_ITEM, REFUSED_ITEM["error"]])
def test_an_item_with_an_error_gives_a_notice_and_keeps_the_others(item: object) -> None:
    answers({"data": [{"b64_json": B64}, item]})
    result = generate(bound(), n=2)
    assert [image.data for image in result.images] == [PNG]
    assert "1 of 2 images came back." in result.notices
    assert any("may contain sensitive information" in notice for notice in result.notices)


@responses.activate
def test_a_reply_with_only_errors_is_a_refusal() -> None:
    answers({"data": [REFUSED_ITEM, REFUSED_ITEM]})
    refused = failure(n=2)
    assert isinstance(refused, BadRequest)
    assert "may contain sensitive information" in refused.said
    assert "content filter" in refused.next_step


# ---- replies that return a task

SUBMITTED = {"code": 200, "data": [{"status": "submitted", "task_id": "task_7"}]}
TASK = f"{HOST}/v1/tasks/task_7"


def done(*urls: str) -> dict[str, object]:
    return {"data": {"status": "completed", "result": {"images": [{"url": list(urls)}]}}}


@responses.activate
@pytest.mark.parametrize(
    ("submitted", "address"),
    [
        (SUBMITTED, TASK),
        ({"task_id": "task_7"}, TASK),
        ({"id": "task_7", "status": "IN_PROGRESS"}, TASK),
        ({"output": {"task_id": "task_7", "task_status": "PENDING"}, "request_id": "r"}, TASK),
        ({"id": "7", "status": "queued", "poll_url": "/v1/jobs/7?x=1"}, f"{HOST}/v1/jobs/7?x=1"),
        ({"task_id": "7", "data": None, "status_url": f"{HOST}/v1/jobs/7"}, f"{HOST}/v1/jobs/7"),
        ({"id": "7", "status": "starting", "urls": {"get": f"{HOST}/v1/jobs/7"}}, f"{HOST}/v1/jobs/7"),
    ],
)
def test_a_task_is_polled_until_its_images_are_ready(submitted: object, address: str) -> None:
    clock = FakeClock()
    answers(submitted)
    responses.get(address, json={"data": {"status": "in progress", "progress": "30%"}})
    responses.get(address, json={"data": None})
    responses.get(address, json=done(f"{HOST}/o.png"))
    responses.get(f"{HOST}/o.png", body=PNG)
    assert [image.data for image in generate(bound(clock=clock)).images] == [PNG]
    assert len([call for call in responses.calls if call.request.method == "POST"]) == 1
    assert all(call.request.headers["Authorization"] == f"Bearer {MARKER_KEY}" for call in responses.calls)
    assert len(clock.pauses) == 2


@responses.activate
@pytest.mark.parametrize(
    ("end", "error"),
    [
        ({"code": "success", "data": {"status": "FAILURE", "fail_reason": "kettle exploded"}}, BadRequest),
        ({"status": "failed", "error": {"message": "kettle exploded", "code": "server_error"}}, ServerUnavailable),
        ({"error": {"message": "kettle exploded: rate limit"}}, RateLimited),
        ({"status": "succeeded", "note": "kettle exploded"}, ServerUnavailable),
    ],
)
def test_a_failed_task_is_reported_with_its_message(end: object, error: type[ImageError]) -> None:
    answers(SUBMITTED)
    responses.get(TASK, json=end)
    refused = failure()
    assert type(refused) is error
    assert "kettle exploded" in refused.said
    assert refused.next_step


@responses.activate
@pytest.mark.parametrize(
    "prepare",
    [
        lambda: responses.get(TASK, status=404),
        lambda: responses.get(TASK, status=405),
        lambda: responses.get(TASK, status=500, json={"error": {"message": "boom"}}),
        lambda: responses.get(TASK, body="<html></html>", content_type="text/html"),
        lambda: responses.get(TASK, json={"data": {"status": "processing"}}),
    ],
)
def test_a_task_that_cannot_be_polled_is_named_with_a_billing_warning(
    prepare: Callable[[], object],
) -> None:
    answers(SUBMITTED)
    prepare()
    refused = failure()
    assert "task_7" in str(refused)
    assert "may be billed" in refused.next_step
    assert "ry again" not in str(refused)


@responses.activate
def test_a_gateway_without_a_task_endpoint_is_reported() -> None:
    answers(SUBMITTED)
    responses.get(TASK, status=404)
    refused = failure()
    assert isinstance(refused, BadRequest)
    assert "replied with the task" in refused.said


@responses.activate
def test_the_key_is_never_sent_to_another_host() -> None:
    answers({"task_id": "7", "status": "queued", "poll_url": "https://elsewhere.test/7"})
    refused = failure()
    assert "elsewhere.test" in refused.said
    assert len(responses.calls) == 1


@responses.activate
def test_a_task_is_named_with_its_last_known_state_on_timeout() -> None:
    clock = FakeClock()
    answers(SUBMITTED)
    responses.get(TASK, json={"data": {"status": "processing"}})
    refused = failure(bound(clock=clock), timeout=20.0)
    assert isinstance(refused, ConnectionFailed)
    assert "last known state: processing" in refused.said
    assert sum(clock.pauses) == pytest.approx(20.0)


# ---- lost connections


@responses.activate
def test_a_lost_connection_gives_a_billing_warning() -> None:
    responses.post(f"{HOST}/v1/images/generations", body=requests.ConnectionError("reset"))
    refused = failure()
    assert isinstance(refused, ConnectionFailed)
    assert "may still have been processed" in refused.said
    assert "before trying again" in refused.next_step
