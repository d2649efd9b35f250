"""Images inside JSON."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.entities import from_base64

TEXTS = st.text(alphabet="AQgw+/-_= \n%é", max_size=12)


@given(st.binary(max_size=100))
def test_encoded_bytes_are_decoded(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert from_base64(text) == from_base64(f"data:image/png;base64,{text}") == data


def test_line_breaks_and_url_safe_base64_are_read() -> None:
    assert from_base64("AQID\r\nBAUG \n") == b"\1\2\3\4\5\6"
    assert from_base64("-_8=") == b"\xfb\xff"


@given(TEXTS)
def test_everything_else_is_refused(text: str) -> None:
    try:
        from_base64(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 -- whichever
            base64.b64decode(text, validate=True)


@pytest.mark.parametrize("text", ["%%%%", "AQI=AQI=", "é", "A"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whichever
        from_base64(text)
