import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from sandbox import protocol


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (64.0, 64),
        (0.5, 0.5),
        (-3.0, -3),
        (2**53, 2**53),
        (2**53 + 1, 2**53),
        (12345678901234567890, 12345678901234567000),
        (1e21, 1e21),
        (True, True),
        ("1.0", "1.0"),
        (None, None),
        ({"b": 1.0, "a": [2.0, {"c": 2**53 + 1}]}, {"a": [2, {"c": 2**53}], "b": 1}),
    ],
)
def test_numbers_are_formatted_as_by_go(sent: JsonValue, received: JsonValue) -> None:
    result = protocol.float64_round_trip(sent)
    assert (result, type(result)) == (received, type(received))


def test_keys_are_sorted() -> None:
    result = protocol.float64_round_trip({"z": 1, "a": 2})
    assert json.dumps(result) == '{"a": 2, "z": 1}'


def test_a_number_out_of_float64_range_is_refused() -> None:
    with pytest.raises(OverflowError):
        protocol.float64_round_trip({"seed": 10**400})


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_no_value_changes_within_the_safe_range(number: float) -> None:
    """Only the JSON type changes, never the value."""
    received = protocol.float64_round_trip(number)
    assert isinstance(received, int | float)
    assert float(received) == number


def test_contents_keep_only_known_keys() -> None:
    message: protocol.JsonObject = {
        "role": "user",
        "content": [{"type": "text", "data": "a cat", "colour": "red"}],
        "mood": "good",
    }
    assert protocol.rebuild_messages([message]) == [
        {
            "role": "user",
            "name": None,
            "content": [
                {
                    "type": "text",
                    "data": "a cat",
                    "base64_data": "",
                    "url": "",
                    "format": "",
                    "mime_type": "",
                    "detail": "",
                    "filename": "",
                    "opaque_body": None,
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("first_bytes", "image_format"),
    [(b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"RIFF0000WEBP", "webp"), (b"GIF89a", "gif")],
)
def test_the_type_of_an_input_image_comes_from_its_first_bytes(first_bytes: bytes, image_format: str) -> None:
    part = protocol.image_part(first_bytes)
    assert (part["format"], part["mime_type"]) == (image_format, f"image/{image_format}")


@pytest.mark.parametrize("line", [b"hello\n", b"[1]\n", b"{broken\n", b"\n"])
def test_a_line_that_is_not_an_object_is_skipped(line: bytes) -> None:
    assert protocol.parse_line(line) is None
