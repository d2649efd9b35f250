"""Error messages and the redaction of secrets."""

import logging
import re
import string

import pytest
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.errors.model import InvokeError
from hypothesis import assume, given
from hypothesis import strategies as st

from models.backends.errors import (
    SAID_LIMIT,
    BadRequest,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
    logger,
    redact,
    shorten,
    unsupported,
)
from tests.fakes import ERROR_CLASSES, MARKER_KEY

KEYS = st.text(string.ascii_letters + string.digits + "-_", min_size=20, max_size=64)


def test_a_failure_reads_as_sentences() -> None:
    error = RateLimited("Painting failed", "no credit left", "Buy some")
    assert str(error) == "Painting failed: no credit left. Buy some."


@pytest.mark.parametrize(
    "said", ["Try again!", "Really?", "已完成。", "Done.", "参数无效！", "cut off…", 'He said "no."']
)
def test_a_full_stop_is_not_doubled(said: str) -> None:
    assert str(BadRequest("Painting failed", said)) == f"Painting failed: {said}"


def test_the_services_message_is_one_short_line() -> None:
    error = BadRequest("Painting failed", "line\n\n  line " * 500)
    assert len(error.said) <= SAID_LIMIT
    assert "\n" not in str(error)


def test_shorten_leaves_out_the_memory_report_of_pytorch() -> None:
    said = (  # as PyTorch 2.11 words it, seen with ComfyUI 0.3.64 on an H100
        "CUDA out of memory. Tried to allocate 1.25 GiB. GPU 0 has a total capacity of 79.18 GiB of which 61.25 GiB is"
        " free. Process 805 has 518.00 MiB memory in use. Including non-PyTorch memory, this process has 10.10 GiB memory"
        " in use. 9.90 GiB allowed; Of the allocated memory 9.10 GiB is allocated by PyTorch, and 331.25 MiB is reserved"
        " by PyTorch but unallocated. If reserved but unallocated memory is large try setting"
        " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory Management"
    )
    assert shorten(f"node 3 (KSampler): {said}") == "node 3 (KSampler): CUDA out of memory. Tried to allocate 1.25 GiB"
    older = (
        "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity; 7.2 GiB already allocated;"
    )
    assert shorten(older) == "CUDA out of memory. Tried to allocate 20.00 MiB"


def test_shorten_marks_the_cut() -> None:
    assert shorten("a  b\n c", 10) == "a b c"
    assert shorten("abcdef", 4) == "abc…"


def test_an_unsupported_feature_names_feature_model_and_next_step() -> None:
    assert str(unsupported("masks", model="m", way_out="Use another")) == "m does not support masks. Use another."


@pytest.mark.parametrize("error", ERROR_CLASSES)
def test_every_class_maps_to_one_host_class_and_has_a_next_step(error: type[ImageError]) -> None:
    assert issubclass(error.host, InvokeError)
    assert error.advice


def test_the_classes_map_to_five_host_classes() -> None:
    assert len({error.host for error in ERROR_CLASSES}) == 5


@given(st.integers(100, 999))
def test_every_status_has_a_class(status: int) -> None:
    assert class_for_status(status) in ERROR_CLASSES


@given(st.text(), KEYS, st.text())
def test_a_secret_never_survives(before: str, key: str, after: str) -> None:
    shown = redact(f"{before}{key}{after}", [key])
    assert key not in shown.replace("[hidden]", "\0")


@given(KEYS, st.data())
def test_no_eight_characters_of_a_secret_survive_unless_they_are_a_word(key: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - 8))
    piece = key[start : data.draw(st.integers(start + 8, len(key)))]
    mixed = re.search(r"[A-Za-z]\d|\d[A-Za-z]|[a-z][A-Z][a-z][A-Z]|[a-z]{17}|[A-Z]{22}", piece)
    assume(mixed or (len(piece) > 15 and not piece.isalpha()))
    assert redact(f"got <{piece}>", [key]) == "got <[hidden]>"


def test_fewer_characters_than_eight_are_no_piece_of_a_secret() -> None:
    for said in (MARKER_KEY[:7], MARKER_KEY[-7:], MARKER_KEY[9:16]):
        assert redact(f"got <{said}>", [MARKER_KEY]) == f"got <{said}>"


@pytest.mark.parametrize("length", [8, 10, 12, 15, 20])
def test_the_start_of_a_key_is_hidden_as_services_quote_it(length: int) -> None:
    for key in ("sk-abcdefghijklmnopqrst", "hf_ABCDEFGHIJKLMNOPQRST", "sk-proj-abcdefghijklmnop"):
        assert redact(f"Incorrect API key: {key[:length]}***.", [key]) == "Incorrect API key: [hidden]***."


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("prod-checkpoints-2026", "CheckpointLoader failed: no checkpoints in models/checkpoints"),
        ("my-stability-production-key", "Stability AI refused the key of a stability account"),
        ("workflow-automation-2026-11", "The workflow of November 2026 has no automation"),
        ("KSamplerAdvancedAccount-01", "KSampler, KSamplerAdv and Advanced are node types"),
    ],
)
def test_a_key_made_of_words_does_not_hide_ordinary_words(key: str, said: str) -> None:
    assert redact(said, [key]) == said
    assert key not in redact(f"{said} {key}", [key])


WORDS = st.sampled_from(
    ["checkpoint", "stability", "workflow", "image", "production", "CheckpointLoader", "ComfyUI", "OpenAI", "service"]
)


@given(st.lists(WORDS, min_size=2, max_size=4), st.integers(0, 9999), st.lists(WORDS, max_size=12))
def test_prose_is_not_hidden_by_a_key_made_of_words(parts: list[str], number: int, prose: list[str]) -> None:
    key = f"{'-'.join(parts)}-{number:04}"
    assert redact(" ".join(prose), [key]) == " ".join(prose)
    assert key not in redact(f"{' '.join(prose)}{key}", [key])


@given(st.text(string.ascii_lowercase + " ", max_size=200))
def test_text_without_a_secret_is_untouched(text: str) -> None:
    assert redact(text, [MARKER_KEY]) == text


def test_a_short_password_is_hidden_and_a_tiny_one_does_not_hide_letters() -> None:
    assert redact("login pass1 failed", ["pass1"]) == "login [hidden] failed"
    assert redact("a cat sat", ["a"]) == "a cat sat"
    assert redact("pass failed for pas", ["pass", "pas"]) == "[hidden] failed for pas", "from four characters on"
    assert redact("aaaaa", ["aaaa"]) == "[hidden]", "also where it overlaps itself"


def test_a_password_is_hidden_as_a_whole_only() -> None:
    assert redact("login stable-diffusion failed for diffusion", ["stable-diffusion"]) == (
        "login [hidden] failed for diffusion"
    )


def test_the_services_sentence_about_the_header_is_kept() -> None:
    said = "authorization: invalid or missing header value"
    assert redact(said, [MARKER_KEY]) == said


def test_overlapping_secrets_are_all_hidden() -> None:
    assert redact("abcdefghijkl-mnopqrst", ["abcdefghijkl", "ghijkl-mnopqrst"]) == "[hidden]"


@pytest.mark.parametrize(
    "header", ["Authorization: Bearer abc", "authorization=Basic eHg=", '"X-API-Key": "abc4567890123456"']
)
def test_values_of_credential_headers_are_hidden(header: str) -> None:
    shown = redact(f"sent {header} to the service", [])
    assert "abc" not in shown
    assert "eHg" not in shown
    assert shown.endswith("to the service")


@pytest.mark.parametrize(("length", "hidden"), [(19, False), (20, True)])
def test_pieces_of_twenty_characters_and_more_are_hidden(length: int, hidden: bool) -> None:
    """A shorter secret is a password, which nobody quotes in part."""
    secret = "q7w8e9r0t1y2u3i4o5p6"[:length]
    assert redact(f"got <{secret[3:12]}>", [secret]) == ("got <[hidden]>" if hidden else f"got <{secret[3:12]}>")
    assert redact(f"got <{secret}>", [secret]) == "got <[hidden]>"


@pytest.mark.parametrize(
    ("said", "hidden"),
    [("checkpoints-202", False), ("checkpoints-2026", True), ("checkpointloader", False)],
)
def test_words_of_more_than_fifteen_characters_are_a_secret_if_they_are_joined(said: str, hidden: bool) -> None:
    keys = ["prod-checkpoints-2026", "my-checkpointloader-key"]
    assert redact(f"got <{said}>", keys) == ("got <[hidden]>" if hidden else f"got <{said}>")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0, ServerUnavailable),
        (399, ServerUnavailable),
        (400, BadRequest),
        (404, BadRequest),
        (499, BadRequest),
        (500, ServerUnavailable),
        (599, ServerUnavailable),
    ],
)
def test_a_status_that_names_no_fault_of_the_request_is_the_services(status: int, kind: type[ImageError]) -> None:
    assert class_for_status(status) is kind


def test_an_error_promises_nothing_unless_it_is_said() -> None:
    plain = ServerUnavailable("Painting failed")
    assert (plain.undone, plain.transient, plain.in_flight, plain.made) == (False, False, False, None)
    refused = RateLimited("Painting failed")
    assert refused.undone
    assert refused.in_doubt() is refused
    assert not refused.undone
    assert RateLimited.undone


def test_what_is_noted_stands_in_the_hosts_log_once() -> None:
    assert plugin_logger_handler in logger.handlers
    assert (logger.propagate, logger.level) == (False, logging.INFO)
