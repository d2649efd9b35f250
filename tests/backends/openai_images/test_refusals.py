"""Every error format of these servers becomes one of five classes, with the server's message and a next step."""

import json

import pytest

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.openai_images.client import TABLE, Refusals
from models.backends.reply import Explanation, Reply
from models.settings import Access

ACCESS = Access(base_url="http://gpu:8091", api_key="k")


def read(status: int, body: object, *, access: Access = ACCESS, models: str = "", **headers: str) -> Explanation:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusals(access, models).explain(Reply(status, {"content-type": "application/json", **names}, raw))


def openai(message: str, kind: str = "invalid_request_error", code: object = None, param: str | None = None) -> object:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def vllm(message: str, code: int, param: str | None = None) -> object:
    return {"error": {"message": message, "type": "Bad Request", "param": param, "code": code}}


ROWS: list[tuple[str, int, object, type[ImageError], str]] = [
    # OpenAI
    (
        "prompt refused, GPT image",
        400,
        openai("Rejected by the safety system. safety_violations=[violence].", "image_generation_user_error",
               "moderation_blocked"),
        BadRequest,
        "change it",
    ),
    ("prompt refused, gateway rewrote type", 400, openai("no", "server_error", "moderation_blocked"), BadRequest, "filter"),
    ("prompt refused, Azure", 400, openai("no", code="content_policy_violation"), BadRequest, "change it"),
    ("prompt refused, 2023", 400, openai("Your request was rejected as a result of our safety system."), BadRequest, "change it"),
    ("wrong key", 401, openai("Incorrect API key provided", code="invalid_api_key"), AuthorizationFailed, "(api_key) in the model's settings"),
    ("organisation not verified", 403, openai("Your organization must be verified to use the model"), AuthorizationFailed, "Verify the organisation"),
    ("unknown model", 404, openai("The model `x` does not exist", code="model_not_found"), BadRequest, "(remote_model)"),
    ("retired model", 400, openai("no longer here", code="model_not_found"), BadRequest, "(remote_model)"),
    ("rate limit", 429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), RateLimited, "Wait a moment"),
    ("no quota", 429, openai("You exceeded your quota", "insufficient_quota", "insufficient_quota"), RateLimited, "waiting does not help"),
    ("bad size", 400, openai("Invalid size '3x3'", code="invalid_value", param="size"), BadRequest, "`width` and `height`"),
    ("unknown parameter", 400, openai("Unknown parameter: 'seed'.", code="unknown_parameter", param="seed"), BadRequest, "(dialect)"),
    ("server error", 500, openai("The server had an error", "server_error"), ServerUnavailable, "Try again"),
    ("overloaded", 503, openai("overloaded", "server_error"), ServerUnavailable, "in a moment"),
    # vLLM-Omni
    ("schema", 400, vllm("1 validation error: Input should be less than 200", 400, "body.num_inference_steps"), BadRequest, "`steps`"),
    ("size", 400, vllm("1 validation error", 400, "body.size"), BadRequest, "`width` and `height`"),
    ("scale", 400, vllm("1 validation error", 400, "body.true_cfg_scale"), BadRequest, "`cfg_scale`"),
    ("model mismatch", 400, vllm("Model mismatch: request specifies 'a' but server is running 'b'.", 400), BadRequest, "(remote_model)"),
    ("no image", 422, vllm("Field 'image' or 'url' is required", 422), BadRequest, "vision"),
    ("too many images", 400, vllm("Received 5 input images. At most 4 images are supported by this model.", 400), BadRequest, "input images"),
    ("no diffusion stage", 503, vllm("No diffusion stage found in multi-stage pipeline.", 503), ServerUnavailable, "--omni"),
    ("failed", 500, vllm("Image generation failed: boom", 500), ServerUnavailable, "log"),
    ("out of memory", 500, vllm("Image generation failed: CUDA out of memory. Tried to allocate 20 GiB", 500), ServerUnavailable, "smaller size"),
    ("wrong key, bare string", 401, {"error": "Unauthorized"}, AuthorizationFailed, "(api_key)"),
    # SGLang, Xinference
    ("detail", 400, {"detail": "Failed to process image: unreadable"}, BadRequest, "Change what"),
    ("schema", 422, {"detail": [{"loc": ["body", "size"], "msg": "bad", "type": "value_error"}]}, BadRequest, "`width`"),
    ("crash", 500, b"Internal Server Error", ServerUnavailable, "log"),
    ("bad gateway", 502, {"detail": "scheduler gone"}, ServerUnavailable, "proxy"),
    ("cancelled", 409, {"detail": "The request was cancelled"}, ServerUnavailable, "cancelled at the server"),
    # stable-diffusion.cpp
    ("text", 400, {"error": "invalid params"}, BadRequest, "Change what"),
    ("malformed", 500, {"error": "server_error", "message": "parse error"}, ServerUnavailable, "log"),
    # LocalAI
    ("unknown model, integer code", 404, {"error": {"code": 404, "message": "model x not found", "type": ""}}, BadRequest, "(remote_model)"),
    ("opaque", 500, b"", ServerUnavailable, "log"),
    ("no such page", 404, b"", BadRequest, "(base_url)"),
    # SiliconFlow
    ("bare string", 401, "Invalid token", AuthorizationFailed, "(api_key)"),
    ("model", 400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None}, BadRequest, "(remote_model)"),
    ("balance", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, RateLimited, "add some"),
    ("account not verified", 403, "Please complete real-name verification", AuthorizationFailed, "real name"),
    ("model switched off", 403, {"code": 30003, "message": "Model disabled.", "data": None}, BadRequest, "(remote_model)"),
    ("images a minute", 429, {"message": "Request was rejected due to rate limiting. Details:IPM limit reached."}, RateLimited, "Wait a moment"),
    ("images a day", 429, {"message": "Request was rejected due to rate limiting. Details:IPD limit reached."}, RateLimited, "next day"),
    ("filter", 451, {"code": 20000, "message": "not allowed"}, BadRequest, "content filter"),
    ("overloaded there", 503, {"code": 50505, "message": "Model service overloaded. Please try again later."}, ServerUnavailable, "in a moment"),
    ("size required", 400, {"code": 20015, "message": "The image_size field is required", "data": None}, BadRequest, "`width`"),
    # platforms and proxies
    ("platform", 504, {"detail": "gone", "error_type": "request_timeout"}, ServerUnavailable, "read timeout"),
    ("body too large", 413, b"<html>nginx</html>", BadRequest, "smaller"),
    ("timeout", 408, b"", ConnectionFailed, "Try again"),
    ("redirect", 302, b"", ServerUnavailable, "(base_url)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "error", "advice"), [row[1:] for row in ROWS], ids=[f"{row[1]} {row[0]}" for row in ROWS]
)
def test_a_refusal_has_its_class_and_its_next_step(
    status: int, body: object, error: type[ImageError], advice: str
) -> None:
    meaning = read(status, body)
    assert meaning.error is error
    assert advice in meaning.next_step
    assert "{" not in meaning.next_step
    assert "<html" not in meaning.said


def test_the_services_message_is_kept() -> None:
    assert "unreadable" in read(400, {"detail": "Failed to process image: unreadable"}).said
    assert "body.size: bad" in read(422, {"detail": [{"loc": ["body", "size"], "msg": "bad"}]}).said
    assert "Invalid token" in read(401, "Invalid token").said


def test_without_a_key_the_next_step_is_to_fill_it_in() -> None:
    nobody = Access(base_url="http://gpu")
    assert "fill “API key” (api_key)" in read(401, {"error": "Unauthorized"}, access=nobody).next_step
    proxied = Access(base_url="http://gpu", username="me", password="p")
    assert "(username)" in read(401, b"", access=proxied).next_step


def test_an_unknown_model_lists_the_known_ones() -> None:
    meaning = read(404, openai("no", code="model_not_found"), models="Qwen/Qwen-Image, sdxl")
    assert "it has Qwen/Qwen-Image, sdxl" in meaning.next_step


def test_only_requests_that_were_not_executed_are_retried() -> None:
    assert read(429, openai("slow down", code="rate_limit_exceeded")).retry_after == 0
    assert read(503, b"", retry_after="5").retry_after == 0
    for status, body in [
        (429, openai("no", code="insufficient_quota")),
        (503, b""),
        (500, b""),
        (502, b""),
        (504, b""),
        (400, b""),
    ]:
        assert read(status, body).retry_after is None


def test_every_row_of_the_table_has_a_next_step() -> None:
    assert all(row.next_step for row in TABLE.rows)
