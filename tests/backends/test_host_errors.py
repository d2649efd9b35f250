"""Errors for the host: one of the five classes, a sentence, no secret, no cause."""

import logging

import pytest
from dify_plugin.errors import model as host

from models.backends.errors import AuthorizationFailed, ImageError, host_errors, redact
from tests.fakes import ERROR_CLASSES, MARKER_KEY

CREDENTIALS = {"stability_api_key": MARKER_KEY, "comfyui_password": "hunter2-hunter2"}
FIVE = (
    host.InvokeAuthorizationError,
    host.InvokeRateLimitError,
    host.InvokeBadRequestError,
    host.InvokeServerUnavailableError,
    host.InvokeConnectionError,
)


@pytest.mark.parametrize("error", ERROR_CLASSES)
def test_each_error_class_maps_to_one_host_class(error: type[ImageError]) -> None:
    with pytest.raises(host.InvokeError) as raised, host_errors({}):
        raise error("Generating failed", "words", "Do this")
    assert type(raised.value) in FIVE
    assert str(raised.value) == "Generating failed: words. Do this."


def test_an_authorization_error_keeps_its_message() -> None:
    with pytest.raises(host.InvokeAuthorizationError, match="made in Singapore"), host_errors({}):
        raise AuthorizationFailed("Asking failed", "the key was made in Singapore")


def test_secrets_are_hidden_completely_and_in_parts() -> None:
    said = f"key {MARKER_KEY} is wrong, {MARKER_KEY[:12]}... too, Authorization: Bearer abc.def, hunter2-hunter2"
    with pytest.raises(host.InvokeError) as raised, host_errors(CREDENTIALS):
        raise AuthorizationFailed("Asking failed", said)
    for secret in (MARKER_KEY, MARKER_KEY[:12], "abc.def", "hunter2-hunter2"):
        assert secret not in str(raised.value)


def test_an_unexpected_error_is_one_of_the_five_and_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("image_generation").propagate = True
    try:
        with pytest.raises(host.InvokeServerUnavailableError) as raised, host_errors(CREDENTIALS):
            raise KeyError(f"no such thing as {MARKER_KEY}")
    finally:
        logging.getLogger("image_generation").propagate = False
    assert str(raised.value).startswith("The plugin itself failed (KeyError).")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "KeyError" in caplog.text
    assert MARKER_KEY not in caplog.text


def test_short_passwords_do_not_hide_ordinary_words() -> None:
    assert redact("a cat on a mat", ["a"]) == "a cat on a mat"
