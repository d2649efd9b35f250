"""What goes wrong with a store, in sentences: the rows are in failures.yaml. Nothing of a raw error is shown but its code."""

import re
from functools import cache
from pathlib import Path

import yaml

from models.entities import StrictModel

_CODE = re.compile(r"<Code>(\w+)</Code>|\"(?:code|reason)\": ?\"(\w+)\"")
_STATUS = re.compile(r"(?:status(?: code)?:? |Status \{ status: |HTTP error: status )(\d{3})")


class StoreError(Exception):
    """A store did not do what was asked: `said` completes "…: ", `next_step` is for the owner."""

    def __init__(self, said: str, next_step: str) -> None:
        super().__init__(said)
        self.said = said
        self.next_step = next_step


class _Failure(StrictModel):
    codes: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    text: tuple[str, ...] = ()
    said: str
    next: str


@cache
def _failures() -> tuple[_Failure, ...]:
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return tuple(map(_Failure.model_validate, rows))


def explained(error: Exception, *, field: str, place: str) -> StoreError:
    """The sentence for an error of obstore. `field` names the form's field, `place` the store."""
    text = str(error)
    codes = {code for found in _CODE.findall(text) for code in found if code}
    statuses = {int(status) for status in _STATUS.findall(text)}
    for failure in _failures():
        if codes & set(failure.codes) or (not codes and _alike(failure, text, statuses)):
            shown = f" ({', '.join(sorted(codes))})" if codes else ""
            return StoreError(f"{failure.said}{shown}", failure.next.format(field=field, place=place))
    what = ", ".join(sorted(codes)) or ", ".join(f"HTTP {status}" for status in statuses) or type(error).__name__
    return StoreError(f"the store refused ({what})", f"Check the store at {place} and {field}")


def _alike(failure: _Failure, text: str, statuses: set[int]) -> bool:
    return bool(statuses & set(failure.status)) or any(
        re.search(rf"{re.escape(part)}\b", text) for part in failure.text
    )
