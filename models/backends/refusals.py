"""What a service's refusal means, from a table in its folder (`refusals.yaml`): the first matching row decides.

A row matches when all of its conditions hold:

- `codes`: one of the machine-readable names of the refusal; case and underscores are ignored, and a name also matches
  its dotted details (`InvalidURL` for `InvalidURL.Timeout`)
- `statuses`: one of the HTTP statuses, such as `404` or `4xx`
- `words`: one of the regular expressions is found in the service's words or names, in any case
- `params`: one of the regular expressions is found in the name of the parameter at fault, else in the words

`error` is the error class, `next_step` the advice; `{api_key}`, `{base_url}` ... stand for the fields of the form and
`{place}` for the form. `retry` says whether the request may be repeated because nothing was made or billed: with a
delay in seconds (0: the caller's own), or `with_header` if the reply names a delay.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Self

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
)
from models.backends.reply import Explanation, Reply, said_by
from models.entities import StrictModel
from models.parameters import read_yaml
from models.settings import Access

_SEARCHED = 5_000  # characters: a reply may be a whole page, and the search time grows with the square of its length
_CLASSES: Mapping[str, type[ImageError]] = {
    "authorization": AuthorizationFailed,
    "rate_limit": RateLimited,
    "bad_request": BadRequest,
    "server_unavailable": ServerUnavailable,
    "connection": ConnectionFailed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A service's report of a failure: an error reply, an error inside a 2xx reply, or the state of a job.

    `status` is 0 if there is no reply.
    """

    said: str
    status: int = 0
    codes: tuple[str, ...] = ()
    param: str = ""
    retry_after: float | None = None

    @classmethod
    def read(cls, reply: Reply, *, said: str = "") -> Self:
        """The fault in a reply, in any of the common error formats. `said` replaces the words found there."""
        error = _error_object(reply.json())
        codes = tuple(str(error[key]) for key in ("code", "type", "name") if error.get(key))
        # Gateways reply with 200 and name the status inside.
        named = [int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)] if reply.ok else []
        status, param = next(iter(named), reply.status), str(error.get("param") or "")
        return cls(said=said or said_by(reply), status=status, codes=codes, param=param, retry_after=reply.retry_after)


def _error_object(body: object) -> Mapping[str, object]:
    match body:
        case [first, *_]:  # Google sends a list around the object
            return _error_object(first)
        case {"error": dict(error)} | {"detail": dict(error)} | dict(error):
            return error
        case _:
            return {}


class RefusalRow(StrictModel):
    """One row of a table; the module's docstring explains the fields."""

    error: Literal["authorization", "rate_limit", "bad_request", "server_unavailable", "connection"]
    next_step: str
    codes: tuple[str, ...] = ()
    statuses: tuple[int | Literal["3xx", "4xx", "5xx"], ...] = ()
    words: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    retry: Literal["never", "with_header"] | float = "never"

    def fits(self, fault: Fault) -> bool:
        return (
            self._has_code(fault.codes)
            and self._has_status(fault.status)
            and _found(self.words, " ".join((fault.said[:_SEARCHED], *fault.codes)))
            and _found(self.params, fault.param or fault.said[:_SEARCHED])
        )

    def explanation(self, fault: Fault, words: Mapping[str, str]) -> Explanation:
        error, advice = _CLASSES[self.error], self.next_step.format_map(words)
        return Explanation(
            error=error,
            said=fault.said,
            next_step=advice,
            retry_after=self._pause(fault),
            no_credit=self.is_no_credit,
        )

    def _has_code(self, codes: Iterable[str]) -> bool:
        known = tuple(f"{_plain(code)}." for code in self.codes)
        return not known or any(f"{_plain(code)}.".startswith(known) for code in codes)

    def _has_status(self, status: int) -> bool:
        return not self.statuses or status in self.statuses or f"{status // 100}xx" in self.statuses

    def _pause(self, fault: Fault) -> float | None:
        if self.retry == "with_header":
            return None if fault.retry_after is None else 0.0
        return None if self.retry == "never" else self.retry

    @property
    def is_no_credit(self) -> bool:
        return self.error == "rate_limit" and self.retry == "never"


def _plain(code: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", code.lower())


def _found(patterns: Iterable[str], text: str) -> bool:
    return not patterns or any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


@dataclass(frozen=True)
class RefusalTable:
    """The rows of a file, read on the first refusal; without a file the HTTP status decides."""

    path: Path | None = None

    @classmethod
    def beside(cls, module: str) -> Self:
        """The file `refusals.yaml` in the folder of a module, which is given by its `__file__`."""
        return cls(Path(module).with_name("refusals.yaml"))

    @cached_property
    def rows(self) -> tuple[RefusalRow, ...]:
        return tuple(RefusalRow.model_validate(row) for row in read_yaml(self.path)) if self.path else ()

    def explain(self, refused: Reply | Fault, access: Access, **words: str) -> Explanation:
        """What a refusal means; `words` fill further placeholders. Without a matching row the status decides.

        An account without credit is reported as such for every service.
        """
        fault = Fault.read(refused) if isinstance(refused, Reply) else refused
        rows = [row for row in self.rows if row.fits(fault)]
        (no_credit,) = _COMMON.rows
        if fault.status == HTTPStatus.PAYMENT_REQUIRED or no_credit.fits(fault):
            rows = [*(row for row in rows if row.is_no_credit), no_credit]
        if not rows:
            return Explanation(error=class_for_status(fault.status), said=fault.said)
        labels = {field.name: access.words(field.name) for field in fields(access)}
        return rows[0].explanation(fault, {**labels, "place": access.place, **words})


_COMMON = RefusalTable.beside(__file__)
