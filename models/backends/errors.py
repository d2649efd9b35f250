"""Errors in three parts: what was attempted, the service's own words, and the user's next step.

Each class maps to one of Dify's five error classes (`host`). The entry raises no other class, because Dify shows any
other as raw JSON.
"""

import difflib
import logging
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import groupby, takewhile
from operator import itemgetter
from typing import ClassVar, Self

from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from models.entities import ImageResult
from models.settings import Settings

logger = logging.getLogger("image_generation")
if plugin_logger_handler not in logger.handlers:
    logger.addHandler(plugin_logger_handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)  # for the audit lines and what a credential check found

SAID_LIMIT = 600  # characters kept of a service's own words; a whole traceback does not help

_SHOWN_NAMES = 12
_MEMORY_REPORT = re.compile(r"(?<=[GM]iB)(?:\. GPU \d+ has a| \(GPU \d+; [\d.]+ [GM]iB) total capacity\b.*")
"""What follows "CUDA out of memory. Tried to allocate 1.25 GiB": half a screen about other processes and allocators."""
_ENDED = re.compile(r"[.!?…。！？][\"'”’」)\]]*$")


class ImageError(Exception):
    """Root of everything a backend raises.

    `transient`: the same request may succeed a moment later, so a polling check keeps its job instead of failing it.
    `made` is what a service made and charged for, where it cannot be delivered.
    `in_flight`: the request was sent and not answered, so the service may still begin to carry it out.
    """

    host: ClassVar[type[InvokeError]]
    advice: ClassVar[str]
    """The next step where nothing better is known."""
    undone: bool = False
    """Whether the service surely did not take the request up, so that another server or model may get it."""

    def __init__(
        self,
        attempted: str,
        said: str = "",
        next_step: str = "",
        *,
        transient: bool = False,
        in_flight: bool = False,
    ) -> None:
        self.attempted = attempted
        self.said = shorten(said)
        self.next_step = next_step
        self.transient = transient
        self.made: ImageResult | None = None
        self.in_flight = in_flight
        super().__init__(attempted, said, next_step)

    def in_doubt(self) -> Self:
        """This error, where a later attempt may have reached the service."""
        self.undone = False
        return self

    def __str__(self) -> str:
        head = f"{self.attempted}: {self.said}" if self.said else self.attempted
        return " ".join(part if _ENDED.search(part) else f"{part}." for part in (head, self.next_step) if part)


class AuthorizationFailed(ImageError):
    """The key, the login or the region is wrong, or the account may not do this."""

    host = InvokeAuthorizationError
    advice = "Check the key or login in the settings"


class RateLimited(ImageError):
    """Too many requests, quota used up, or no credit left."""

    host = InvokeRateLimitError
    undone = True  # without credit or capacity nothing is begun
    advice = "Wait a moment and try again, or raise the account's limits"


class BadRequest(ImageError):
    """The request itself cannot be served: parameter, prompt, image, unsupported feature."""

    host = InvokeBadRequestError
    advice = "Change the request and try again"


class ServerUnavailable(ImageError):
    """The service failed: 5xx, out of memory, failed node, empty or broken image."""

    host = InvokeServerUnavailableError
    advice = "Try again in a moment; if it persists, check the service's log or status page"


class ConnectionFailed(ImageError):
    """The service was not reached, did not reply in time, or the connection was lost."""

    host = InvokeConnectionError
    advice = "Check the address in the settings and that the service is running"


_BY_STATUS: dict[int, type[ImageError]] = {
    HTTPStatus.UNAUTHORIZED: AuthorizationFailed,
    HTTPStatus.PAYMENT_REQUIRED: RateLimited,
    HTTPStatus.FORBIDDEN: AuthorizationFailed,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: AuthorizationFailed,
    HTTPStatus.REQUEST_TIMEOUT: ConnectionFailed,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
}


def class_for_status(status: int) -> type[ImageError]:
    """The error class for an HTTP status; services refine it by their own error names."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.BAD_REQUEST:
        return ServerUnavailable
    return _BY_STATUS.get(status, BadRequest)


def no_input_image(model: str) -> BadRequest:
    return BadRequest(
        f"{model} edits images, and no image was sent",
        next_step="Switch on the node's vision setting and choose an image, or use a text-to-image model",
    )


def no_image(attempt: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"{attempt} failed",
        "the service reported success without an image",
        "It may have been billed: check the service's log before sending it again",
    )


def unsupported(feature: str, *, model: str, way_out: str) -> BadRequest:
    return BadRequest(f"{model} does not support {feature}", next_step=way_out)


def names_like(asked: str, offered: Sequence[str]) -> str:
    """At most a dozen of the names on offer, for a message: the most similar ones first."""
    near = difflib.get_close_matches(asked, offered, n=_SHOWN_NAMES, cutoff=0.5)
    shown = [*near, *(name for name in offered if name not in near)][:_SHOWN_NAMES]
    listed = ", ".join(shown)
    return f"{listed} … ({len(offered)} in all)" if len(offered) > len(shown) else listed


def shorten(text: str, limit: int = SAID_LIMIT) -> str:
    """One line of readable text: white space folded, PyTorch's memory report left out, cut at `limit` characters."""
    line = _MEMORY_REPORT.sub("", " ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


_HIDDEN = "[hidden]"
# Prose such as "authorization: invalid or missing" is kept; a scheme with its value, or a long word, is hidden.
_HEADERS = re.compile(
    r"(?i)\b(authorization|x-api-key)\b(['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|key)\s+\S+|\S{16,})"
)
_SHORTEST_SECRET = 4  # a shorter password would hide letters of ordinary words
_SHORTEST_KEY = 20  # services may quote a part of a key ("sk-abcdefgh…"), but a password only whole
_SHORTEST_PIECE = 8
_LONGEST_PHRASE = 15
_KEY_START = re.compile(r"[A-Za-z]{1,2}[-_]")  # sk-, hf_, ...
# Whole words, words cut at their ends, and words joined in camel case; letters mixed with digits do not count.
_WORD = re.compile(r"\d+|[a-z]{,15}(?:[A-Z]{1,5}[a-z]{2,15}){,3}[A-Z]{,15}[a-z]?")


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets, recognisable pieces of them, and credential headers.

    A piece that could be an ordinary word is kept: a key `prod-checkpoints-2026` leaves `CheckpointLoader` alone.
    """
    hidden = [False] * len(text)
    for secret in secrets:
        for start, end in _stretches(text, secret):
            hidden[start:end] = [True] * (end - start)
    runs = groupby(zip(text, hidden, strict=True), key=itemgetter(1))
    shown = "".join(_HIDDEN if covered else "".join(char for char, _ in run) for covered, run in runs)
    return _HEADERS.sub(rf"\1\2{_HIDDEN}", shown)


def _stretches(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """The ranges of `text` that show the secret or a recognisable piece of it, from start to end."""
    if len(secret) < _SHORTEST_SECRET:
        return
    shortest = _SHORTEST_PIECE if len(secret) >= _SHORTEST_KEY else len(secret)
    for begin in range(len(secret) - shortest + 1):
        for at in _places(text, secret[begin : begin + shortest]):
            if begin and at and text[at - 1] == secret[begin - 1]:
                continue  # a part of the stretch that begins before
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(text[at:], secret[begin:], strict=False))
            length = len(list(alike))
            if length == len(secret) or not _could_be_words(secret[begin : begin + length], at_start=begin == 0):
                yield at, at + length


def _places(text: str, piece: str) -> Iterator[int]:
    at = text.find(piece)
    while at >= 0:
        yield at
        at = text.find(piece, at + 1)


def _could_be_words(piece: str, *, at_start: bool) -> bool:
    if (len(piece) > _LONGEST_PHRASE and not piece.isalpha()) or (at_start and _KEY_START.match(piece)):
        return False
    return all(_WORD.fullmatch(token) for token in re.findall(r"[^\W_]+", piece))


def unusable_image(name: str, model: str, said: str) -> ServerUnavailable:
    """The error for a result without any usable image; `said` is what is wrong with the last one."""
    return ServerUnavailable(
        f"{name} of {model} cannot be used",
        said,
        "The request was fine and may have been billed: check the service's log before sending it again",
    )


@contextmanager
def host_errors(credentials: Mapping[str, object]) -> Iterator[None]:
    """Translate everything that leaves the block. The cause is cut off: the host sends tracebacks to its log."""
    try:
        yield
    except InvokeError:
        raise
    except Exception as error:  # noqa: BLE001 -- the host shows anything else as raw JSON
        raise translated(error, credentials) from None


def translated(error: Exception, credentials: Mapping[str, object]) -> InvokeError:
    """The host's error for `error`; an unforeseen one is logged with its traceback and named by its type only."""
    from models.messages import in_words, say  # noqa: PLC0415 -- it imports this module

    settings = Settings(credentials)
    secrets = settings.secrets
    if isinstance(error, ImageError):
        return error.host(redact(in_words(error, settings), secrets))
    logger.error("unforeseen failure: %s", redact("".join(traceback.format_exception(error)), secrets))
    said = (
        f"The plugin itself failed ({type(error).__name__}). Try again; if it stays, report it with the plugin's log."
    )
    return InvokeServerUnavailableError(say(said, settings))
