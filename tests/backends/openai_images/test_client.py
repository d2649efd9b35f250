"""What stands in a reply: tasks, their states, refused keys, and errors inside a success."""

import json
import re
from typing import Any

import pytest

from models.backends.errors import BadRequest, RateLimited, ServerUnavailable
from models.backends.openai_images.client import (
    GatewayTask,
    Refusals,
    _says_error,
    as_reply,
    refused_keys,
    state_in,
    task_in,
)
from models.backends.openai_images.prices import _table, price_of
from models.backends.reply import Reply
from models.entities import Price
from models.settings import Access

ACCESS = Access(prefix="openai")
ACCEPTED = "It may have been billed: check the service's log or usage page before sending it again"


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"task_id": "t1"}, GatewayTask("t1")),
        ({"taskId": 5}, GatewayTask("5")),
        ({"job_id": "", "jobId": "j"}, GatewayTask("j")),
        ({"id": "i", "status": "queued"}, GatewayTask("i")),
        ({"request_id": "r", "state": "In Progress"}, GatewayTask("r")),
        ({"id": "i", "status": "completed"}, None),
        ({"id": "i"}, None),
        ({"data": [{"task_id": "t", "status_url": "/t"}]}, GatewayTask("t", "/t")),
        ({"task_id": "t", "urls": {"get": "https://x/t"}}, GatewayTask("t", "https://x/t")),
        ({"a": {"b": {"c": {"task_id": "t"}}}}, GatewayTask("t")),
        ({"a": {"b": {"c": {"d": {"task_id": "t"}}}}}, None),
        ("text", None),
        (None, None),
    ],
)
def test_a_task_is_known_by_its_id_or_its_state(body: Any, task: GatewayTask | None) -> None:
    assert task_in(body) == task


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "SUCCESS"}, "success"),
        ({"status": "in-progress"}, "in_progress"),
        ({"status": 5, "task_status": "Failed"}, "failed"),
        ({"status": "done", "data": {"status": "running"}}, "running"),
        ({"status": "done", "data": [{"status": "failed"}]}, "failed"),
        ({"status": "one", "data": {"status": "two"}}, "one"),
        ({}, ""),
        ([], ""),
    ],
)
def test_the_state_is_pending_then_failed_then_the_first(body: Any, state: str) -> None:
    assert state_in(body) == state


def reply(body: Any, status: int = 400) -> Reply:
    return Reply(status, {}, as_reply(body).body)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ({"message": "Unknown parameter: 'n'", "param": None}, ("n",)),
        ({"message": "unknown", "param": "size"}, ("size",)),
        ({"message": 'Unrecognized "response_format"'}, ("response_format",)),
        ({"message": "response_format is not supported"}, ("response_format",)),
        ({"message": "n is not supported"}, ()),
        ({"message": "size and n, please"}, ()),
        ({"message": "`response_format` and `n`"}, ("response_format", "n")),
    ],
)
def test_keys_are_refused_by_name(error: Any, refused: tuple[str, ...]) -> None:
    assert refused_keys(reply(error), ("response_format", "n", "size")) == refused


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"status": "failed"}, True),
        ([{"error": "x"}], True),
        ([], False),
        ({"error": {"a": 1}}, True),
        ({"errors": ["x"]}, True),
        ({"detail": "x"}, True),
        ({"error": None, "detail": ""}, False),
        ({"message": "no quota"}, True),
        ({"msg": "no quota"}, True),
        ({"message": "Success!"}, False),
        ({"msg": " ok "}, False),
        ({"message": "   "}, False),
        ({"message": "成功"}, False),
        ({"message": 5}, False),
        ("text", False),
    ],
)
def test_an_error_inside_a_success_is_known_by_its_keys_or_words(body: Any, error: bool) -> None:
    assert _says_error(body) is error


def success(body: Any) -> Any:
    return Refusals(ACCESS).explain_success(Reply(200, {}, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({"data": [{"note": "asleep"}]}, ServerUnavailable, "the service reported success without an image (asleep)"),
        ({}, ServerUnavailable, "the service reported success without an image"),
        (["asleep"], ServerUnavailable, "the service reported success without an image (asleep)"),
        ({"created": 5, "id": "x", "usage": {}}, ServerUnavailable, "the service reported success without an image"),
    ],
)
def test_a_success_without_an_image_says_what_it_holds(body: Any, error: type[Exception], said: str) -> None:
    meaning = success(body)
    assert meaning.error is error
    assert meaning.said.startswith(said.split(" (", maxsplit=1)[0])
    assert ("(" in meaning.said) is ("(" in said)
    assert meaning.next_step == ACCEPTED


def test_an_error_inside_a_success_keeps_its_meaning() -> None:
    assert (
        success({"error": {"message": "Your credit balance is too low", "code": "insufficient_quota"}}).error
        is RateLimited
    )
    filtered = success({"error": {"message": "blocked by our content policy", "code": "content_policy_violation"}})
    assert filtered.error is BadRequest
    broken = success({"error": {"message": "overloaded", "code": 503}})
    assert (broken.error, broken.next_step, broken.retry_after) == (ServerUnavailable, ACCEPTED, None)


@pytest.mark.parametrize(
    ("access", "step"),
    [
        ({"api_key": "k"}, "; keys belong to one service and one account"),
        ({"username": "u"}, ", and the password"),
        ({}, "The server requires a key: fill "),
    ],
)
def test_a_refused_login_names_the_field(access: dict[str, str], step: str) -> None:
    meaning = Refusals(Access(prefix="openai", **access)).explain(Reply(401, {}, b"{}"))  # type: ignore[arg-type]
    assert step in meaning.next_step


def test_an_unknown_model_names_those_that_are_served() -> None:
    missing = {"message": "The model `x` does not exist", "code": "model_not_found"}
    assert "; it has a, b" in Refusals(ACCESS, "a, b").explain(reply(missing, 404)).next_step
    assert "it has" not in Refusals(ACCESS).explain(reply(missing, 404)).next_step


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"filtered": True, "severity": "high"}, " (filtered: violence high)"),
        ({"filtered": True}, " (filtered: violence)"),
        ({"filtered": True, "severity": ""}, " (filtered: violence)"),
        ({"filtered": False, "severity": "safe"}, ""),
    ],
)
def test_the_categories_of_a_filter_are_named(details: dict[str, object], words: str) -> None:
    said = Refusals(ACCESS).explain(reply({"message": "blocked", "innererror": {"violence": details}})).said
    assert said.endswith(f"blocked{words}")


def test_a_failed_task_says_all_that_it_holds() -> None:
    meaning = success({"status": "failed", "reason": "no GPU"})
    assert meaning.said.startswith("HTTP 200, ")
    assert "no GPU" in meaning.said


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"input_tokens_details": {"text_tokens": 1_000_000}, "output_tokens": 0}, "text_in"),
        ({"input_tokens_details": {"image_tokens": 1_000_000}, "output_tokens": 0}, "image_in"),
        ({"input_tokens_details": {}, "output_tokens": 1_000_000}, "image_out"),
        ({"input_tokens_details": {}, "output_tokens": 9, "output_tokens_details": {"image_tokens": 1_000_000}}, "image_out"),
    ],
)  # fmt: skip
def test_a_million_tokens_cost_what_the_table_says(usage: Any, cost: str) -> None:
    prices = next(row for row in _table() if re.fullmatch(row.pattern, "gpt-image-2"))
    assert price_of(usage, "GPT-image-2") == Price(getattr(prices, cost), "USD")
