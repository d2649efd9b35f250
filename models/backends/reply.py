"""HTTP replies: the reply itself, what a refusal means, and parsing into typed models."""

import json as jsonlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from models.backends.errors import ImageError, ServerUnavailable, class_for_status


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP reply, whatever its status. Header names are lower case.

    `url` is where a download ended, after its redirects; empty for any other request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""

    @property
    def ok(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def redirects(self) -> bool:
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> object:
        """The body as JSON, or None if it is not JSON: gateways may reply with HTML."""
        # The second is slower; it reads other encodings and half characters.
        for read in (from_json, jsonlib.loads):
            with suppress(ValueError, RecursionError):
                return read(self.body)
        return None

    @property
    def retry_after(self) -> float | None:
        """The header `Retry-After` in seconds; a date counts from the server's own `Date`, whose clock may be wrong."""
        asked = self.headers.get("retry-after", "")
        try:
            seconds = float(asked)
        except ValueError:
            return _seconds_between(self.headers.get("date", ""), asked)
        return max(0.0, seconds) if isfinite(seconds) else None


def _seconds_between(now: str, then: str) -> float | None:
    """Seconds from one HTTP date to another, at least 0; None where either is none."""
    try:
        start, end = parsedate_to_datetime(now), parsedate_to_datetime(then)
    except ValueError:
        return None
    # A date without a zone counts as UTC, which is the only zone of HTTP.
    return max(0.0, (end.replace(tzinfo=end.tzinfo or UTC) - start.replace(tzinfo=start.tzinfo or UTC)).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a refusal means. `retry_after` (seconds) is set only if the service promises that nothing happened and
    nothing was billed, so that the request may be repeated; 0 leaves the delay to the caller. The header
    `Retry-After` wins over both. `no_credit`: waiting does not help, whatever the status."""

    error: type[ImageError]
    said: str
    next_step: str = ""
    retry_after: float | None = None
    no_credit: bool = False


type Explain = Callable[[Reply], Explanation]


def plain_explanation(reply: Reply) -> Explanation:
    return Explanation(error=class_for_status(reply.status), said=said_by(reply))


def said_by(reply: Reply) -> str:
    """The service's words in the common error formats: `error` object or string, `message`, `detail`, plain text."""
    parsed = reply.json()
    is_page = "html" in reply.headers.get("content-type", "") or reply.text.lstrip().startswith("<")
    words = reply.text if parsed is None and not is_page else _words(parsed) or spelled(parsed)
    return f"HTTP {reply.status}" + (f", {words.strip()}" if words.strip() else "")


def _words(parsed: object) -> str:
    match parsed:
        case {"error": dict(error)}:
            return _words(error)
        case {"message": str(message)} if message:
            return message
        case {"errors": list(errors)} if errors:
            return spelled(errors)
        case {"detail": str(detail)} if detail:
            return detail
        case {"detail": list(details)}:
            return "; ".join(_words(fault) or spelled(fault) for fault in details)
        case {"loc": list(loc), "msg": str(msg)}:
            return f"{'.'.join(map(str, loc))}: {msg}"
        case {"error": str(error)}:
            return error
        case _:
            return ""


def spelled(parsed: object) -> str:
    """Any JSON as readable text, `key.key: value; value`; empty if it holds nothing."""
    return "; ".join(_phrases(parsed, ""))


def _phrases(parsed: object, path: str) -> Iterator[str]:
    match parsed:
        case dict():
            for key, value in parsed.items():
                yield from _phrases(value, f"{path}.{key}" if path else str(key))
        case list():
            for value in parsed:
                yield from _phrases(value, path)
        case None:
            return
        case _:
            words = str(parsed).strip(" \n.;")
            if words:
                yield f"{path}: {words}" if path else words


def parse[M: BaseModel](reply: Reply, model: type[M], *, attempt: str) -> M:
    """The reply as `model`. Raises ServerUnavailable for a body of another shape."""
    try:
        return model.model_validate_json(reply.body)
    except ValidationError as error:
        raise ServerUnavailable(
            f"{attempt} failed",
            f"the reply was not understood ({_faults(reply, error)})",
            "Check that the address belongs to this kind of service and that no proxy replies in its place",
        ) from None


def _faults(reply: Reply, error: ValidationError) -> str:
    if reply.json() is None:
        start = reply.text.lstrip()[:1]
        return {"": "it is empty", "<": "it is a web page"}.get(start, "it is not JSON")
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors()[:3]
    )
