"""Parsing replies: error messages in every known format, and JSON into typed models."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from models.backends.errors import ServerUnavailable
from models.backends.images import parsed
from models.backends.refusals import Fault
from models.backends.reply import Reply, parse, plain_explanation, said_by


def reply(body: object, status: int = 400, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no credit", "code": 1}}, "HTTP 400, no credit"),
        ({"error": "no credit"}, "HTTP 400, no credit"),
        ({"message": "no credit"}, "HTTP 400, no credit"),
        ({"errors": ["one", "two"]}, "HTTP 400, one; two"),
        ({"detail": "Not Found"}, "HTTP 400, Not Found"),
        ({"detail": [{"loc": ["body", "steps"], "msg": "too many"}]}, "HTTP 400, body.steps: too many"),
        ({"errors": ["one: too small. ", {"field": "b"}]}, "HTTP 400, one: too small; field: b"),
        ({"detail": [{"field": "b"}]}, "HTTP 400, field: b"),
        ({"fault": {"code": 7, "text": {"en": "no credit."}}}, "HTTP 400, fault.code: 7; fault.text.en: no credit"),
        ({"error": None}, "HTTP 400"),
        ({"message": "", "detail": "no credit"}, "HTTP 400, no credit"),
        ({"errors": [], "detail": "no credit"}, "HTTP 400, no credit"),
        ({"detail": "", "error": "no credit"}, "HTTP 400, no credit"),
        ({"message": "  ", "code": 7}, "HTTP 400"),
        ({"fault": {"code": " ", "text": "\n", "dots": "..", "why": "no credit"}}, "HTTP 400, fault.why: no credit"),
        ({}, "HTTP 400"),
        ([], "HTTP 400"),
        ("just text", "HTTP 400, just text"),
        (b"plain text", "HTTP 400, plain text"),
        (b"", "HTTP 400"),
        (b"<!DOCTYPE html><p>x", "HTTP 400"),
        (b"\xff\xfe", "HTTP 400, \ufffd\ufffd"),
    ],
)
def test_the_message_of_a_refusal_is_found(body: object, words: str) -> None:
    assert said_by(reply(body)) == words


def test_a_plain_refusal_is_not_retried() -> None:
    assert plain_explanation(reply({}, 429)).retry_after is None


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("", None)])
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert reply({}, retry_after=value).retry_after == seconds


@pytest.mark.parametrize(
    ("date", "value", "seconds"),
    [
        ("Fri, 27 Nov 2026 01:00:00 GMT", "Fri, 27 Nov 2026 01:00:07 GMT", 7.0),
        ("Sun, 13 Sep 2020 12:26:40 GMT", "Sun, 13 Sep 2020 12:26:47 GMT", 7.0),  # a server six years behind
        ("Fri, 27 Nov 2026 01:00:09 GMT", "Fri, 27 Nov 2026 01:00:07 GMT", 0.0),
        ("Fri, 27 Nov 2026 01:00:00 -0000", "Fri, 27 Nov 2026 01:00:07 GMT", 7.0),
        ("Fri, 27 Nov 2026 01:00:00 GMT", "Fri, 27 Nov 2026 01:00:07 -0000", 7.0),
        ("Fri, 27 Nov 2026 02:00:00 +0100", "Fri, 27 Nov 2026 01:00:07 GMT", 7.0),
        ("Fri, 27 Nov 2026 01:00:00 GMT", "Fri, 27 Nov 2026 02:00:07 +0100", 7.0),
        ("", "Fri, 27 Nov 2026 01:00:07 GMT", None),
        ("Fri, 27 Nov 2026 01:00:00 GMT", "Fri, 99 Nov 2026 01:00:07 GMT", None),
    ],
)
def test_retry_after_as_a_date_counts_from_the_servers_clock(date: str, value: str, seconds: float | None) -> None:
    assert reply({}, date=date, retry_after=value).retry_after == seconds


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_invalid_retry_after_is_ignored(value: str) -> None:
    assert reply({}, retry_after=value).retry_after is None


class Answer(BaseModel):
    image: str


def test_a_valid_reply_is_parsed() -> None:
    assert parse(reply({"image": "x", "more": 1}, 200), Answer, attempt="Painting") == Answer(image="x")


def test_deeply_nested_json_is_refused() -> None:
    assert reply(b"[" * 200_000).json() is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is empty"),
        (b"\n<html>", "it is a web page"),
        (b"OK", "it is not JSON"),
        ([], "Input should be an object"),
    ],
)
def test_an_invalid_reply_is_described(body: object, why: str) -> None:
    with pytest.raises(ServerUnavailable, match=f"was not understood \\({why}\\)"):
        parse(reply(body, 200), Answer, attempt="Painting")


@pytest.mark.parametrize("body", [{}, {"image": 1}, [], b"", b"<html>", b"\xff"])
def test_a_reply_of_wrong_shape_is_a_server_error(body: object) -> None:
    with pytest.raises(ServerUnavailable, match="Painting failed: the reply was not understood") as caught:
        parse(reply(body, 200), Answer, attempt="Painting")
    assert caught.value.__cause__ is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "message", "detail", "loc", "msg", "code", "data", "images", "url", "b64_json"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON, st.sampled_from([200, 400, 429, 500]))
def test_any_json_is_a_reply_with_words_and_images_or_refused(body: object, status: int) -> None:
    answer = reply(body, status)
    assert said_by(answer).startswith(f"HTTP {status}")
    assert Fault.read(answer).status in {status, *range(400, 600)}
    try:
        found = parsed(answer, "Painting").images
    except ServerUnavailable as refused:
        assert "Painting failed" in str(refused)  # noqa: PT017 -- both are right
    else:
        assert all(image.source or image.address for image in found)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_with_words(body: bytes) -> None:
    assert said_by(reply(body)).startswith("HTTP 400")
    with pytest.raises(ServerUnavailable):
        parse(reply(body, 200), Answer, attempt="Painting")


def test_a_page_for_browsers_is_not_quoted() -> None:
    assert said_by(reply(b"Bad gateway", 502, content_type="text/html; charset=utf-8")) == "HTTP 502"
    assert said_by(reply(b"Bad gateway", 502, content_type="text/plain")) == "HTTP 502, Bad gateway"
    assert said_by(reply({"message": "no"}, 502, content_type="text/html")) == "HTTP 502, no"


def test_the_first_three_faults_of_a_reply_are_described() -> None:
    class Four(BaseModel):
        a: int
        b: list[int]
        c: int
        d: int

    with pytest.raises(ServerUnavailable) as failure:
        parse(reply({"b": ["x"]}, 200), Four, attempt="Painting")
    assert failure.value.said == (
        "the reply was not understood (a: Field required; b.0: Input should be a valid integer, unable to parse string as an "
        "integer; c: Field required)"
    )
