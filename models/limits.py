"""The owner's limits: the grammar of the form's field `limits`.

Entries are `name value` pairs, separated by commas or newlines (Dify's page drops newlines):

    images 4, megapixels 4, timeout 900          one request
    10/minute, user 20/day, 5 USD/day            quotas: images or money, of everybody or of each end user
    input 10 MB, formats jpg png, instruction 2000
    models a b c                                 what `auto` and `fallback` may name
    hosts a b, cache 24h, audit hash, language zh, account NAME

An unknown entry is refused, so that nobody relies on it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

from models.backends.errors import BadRequest, names_like
from models.catalog import nameable
from models.images.sniff import FORMATS
from models.settings import Settings

type Audit = Literal["text", "hash", "none"]
type Language = Literal["en", "zh"]
type Period = Literal["minute", "day", "month"]

FIELD = "limits"
_MIME_TYPES = {"jpg": "image/jpeg", **{mime.removeprefix("image/"): mime for mime in FORMATS.values()}}
"""File formats as owners write them."""


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `amount` images, or money where `currency` is an ISO code, per minute, day or month of UTC.

    `per_user`: for each end user; else for the account as a whole.
    """

    amount: Decimal
    period: Period
    currency: str = ""
    per_user: bool = False

    def __str__(self) -> str:
        """As the owner writes it: `user 5 USD/day`."""
        unit = f" {self.currency}" if self.currency else ""
        return f"{'user ' if self.per_user else ''}{self.amount}{unit}/{self.period}"

    def same_count(self, other: "Quota") -> bool:
        """Whether both limit the same count."""
        return (self.period, self.currency, self.per_user) == (other.period, other.currency, other.per_user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the owner allows. None: not limited.

    `images`, `megapixels` (each 1024 × 1024 pixels) and `timeout` (seconds) are the most for one request. `formats`
    (MIME types, empty: any), `input_mb` (of 1,000,000 bytes) and `instruction` (characters) are the rules for editing; 0
    is no limit. `language` is the one of messages. `cache` is how many seconds an image may be given again. `quotas` limit all requests together. `models` are the ids that `auto` and `fallback` may name; empty: all.
    `hosts` are those besides public ones that links in a prompt and addresses of input images may lead to; without any,
    addresses of input images are not limited. `account` names the account that quotas and cached images belong to;
    empty: the form's fingerprint.
    """

    images: int | None = None
    megapixels: float | None = None
    timeout: float | None = None
    input_mb: float = 10.0
    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp")
    instruction: int = 2000
    quotas: tuple[Quota, ...] = ()
    cache: float = 86_400.0
    audit: Audit = "hash"
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    account: str = ""
    language: Language = "en"

    @classmethod
    def read(cls, settings: Settings) -> "Limits":
        """Raises BadRequest for what cannot be read, quoting the entry and naming the field."""
        values: dict[str, object] = {}
        for entry in _entries(settings.text(FIELD)):
            try:
                _add(entry, values)
            except _EntryError as error:
                what, wanted = error.args
                raise BadRequest(f"“{entry[:80]}” in {settings.where(FIELD)} {what}", next_step=wanted) from None
        return cls(**values)  # type: ignore[arg-type]  # each reader gives the type of its field


def account_of(settings: Settings) -> str:
    """Whose quotas and cached images these are: the name in `limits`, else the form's fingerprint. Raises BadRequest."""
    return Limits.read(settings).account or settings.fingerprint


def language_of(settings: Settings) -> Language:
    """The language of messages, also where another entry cannot be read."""
    named = [value.casefold() for name, value in map(_split, _entries(settings.text(FIELD))) if name == "language"]
    return "zh" if "zh" in named else "en"


class _EntryError(ValueError):
    """An entry that cannot be used: what is wrong with it, and what to write."""


def _entries(text: str) -> Iterator[str]:
    """Full-width commas, digits and letters count as the plain ones."""
    for entry in re.split(r"[,;、\n]", unicodedata.normalize("NFKC", text)):
        if entry.strip():
            yield " ".join(entry.split())


def _add(entry: str, values: dict[str, object]) -> None:
    """Read an entry into `values`, by the field of Limits that it sets."""
    name, value = ("quota", entry) if _LIKE_A_QUOTA.match(entry) else _split(entry)
    kind = _KINDS.get(name)
    if kind is None:
        raise _EntryError("is not a limit", f"Write entries like {_SHOWN}")
    found = re.fullmatch(kind.pattern, value, re.IGNORECASE)
    if found is None:
        raise _EntryError("cannot be read", f"Write {kind.wanted}")
    if kind.field == "quotas":
        values["quotas"] = _joined(cast(tuple[Quota, ...], values.get("quotas", ())), _quota(found))
        return
    if kind.field in values:
        raise _EntryError(f"names {name} again", "Write each limit once")
    values[kind.field] = kind.read(found[1].casefold())


def _split(entry: str) -> tuple[str, str]:
    name, *value = re.split(r"\s*[:=\s]\s*", entry, maxsplit=1)
    return name.casefold(), "".join(value)


def _quota(found: re.Match[str]) -> Quota:
    user, amount, currency, period = found.groups()
    return Quota(Decimal(amount), cast(Period, period.casefold()), (currency or "").upper(), per_user=bool(user))


def _joined(quotas: tuple[Quota, ...], quota: Quota) -> tuple[Quota, ...]:
    if any(quota.same_count(other) for other in quotas):
        raise _EntryError(f"limits the same per {quota.period} again", "Write each limit once")
    return (*quotas, quota)


def _model_ids(names: str) -> tuple[str, ...]:
    """Separated by spaces: a comma begins the next entry."""
    ids = tuple(dict.fromkeys(names.split()))
    if unknown := [name for name in ids if name not in nameable()]:
        raise _EntryError(f"names {unknown[0]}, which is no model", f"Choose from {names_like(unknown[0], nameable())}")
    return ids


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * {"m": 60, "h": 3_600, "d": 86_400}[duration[-1]]


def _mime_types(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_MIME_TYPES[name.lstrip(".")] for name in names.split() if name != "0"))


@dataclass(frozen=True, slots=True)
class _Kind:
    """An entry: the form of what stands behind its name, in words as well, and how its first group is read.

    `field` is the one of Limits that it sets.
    """

    pattern: str
    wanted: str
    field: str
    read: Callable[[str], object] = str


# Plain digits only: signs, exponents, `inf` and `nan` are no numbers here.
_WHOLE = r"(\d{1,9})"
_NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"
_ABOVE_0 = r"(?=[\d.]*[1-9])"
_AT_LEAST_1 = r"(?=\d*[1-9])"
_FORMAT_NAMES = rf"((?:\.*(?:{'|'.join(_MIME_TYPES)})(?: |$))+|0)"
_LIKE_A_QUOTA = re.compile(r"[\d./-]|user\b", re.IGNORECASE)

_KINDS: Mapping[str, _Kind] = {
    "images": _Kind(_AT_LEAST_1 + _WHOLE, "a whole number above 0, like `images 4`", "images", int),
    "megapixels": _Kind(_ABOVE_0 + _NUMBER, "a number above 0, like `megapixels 4`", "megapixels", float),
    "timeout": _Kind(rf"{_AT_LEAST_1}{_NUMBER} ?s?", "seconds, at least 1, like `timeout 900`", "timeout", float),
    "input": _Kind(rf"{_NUMBER} ?(?:mb)?", "megabytes like `input 10 MB`, or 0 for no limit", "input_mb", float),
    "formats": _Kind(
        _FORMAT_NAMES, f"formats with some of {' '.join(_MIME_TYPES)}, or 0 for any", "formats", _mime_types
    ),
    "instruction": _Kind(_WHOLE, "characters like `instruction 2000`, or 0 for no limit", "instruction", int),
    "audit": _Kind("(text|hash|none)", "one of text, hash, none behind the name", "audit"),
    "quota": _Kind(
        rf"(user )?{_ABOVE_0}(\d{{1,9}}(?:(?:\.\d{{1,6}})?(?= ?[a-z]))?) ?([a-z]{{3}})? ?/ ?(minute|day|month)",
        "a quota like `10/minute`, `user 20/day` or `5 USD/month`",
        "quotas",
    ),
    "models": _Kind(r"(\S.*)", "model ids like `models preview qwen-image-2.0`", "models", _model_ids),
    "hosts": _Kind(
        r"((?:[\w.-]+|\[[\da-f:]+\])(?::\d{1,5})?(?: (?:[\w.-]+|\[[\da-f:]+\])(?::\d{1,5})?)*)",
        "host names like `hosts files.example.com 192.168.1.20:9000`",
        "hosts",
        lambda names: tuple(dict.fromkeys(names.split())),
    ),
    "cache": _Kind(rf"{_AT_LEAST_1}(\d{{1,6}} ?[mhd])", "a duration like `cache 24h` (m, h or d)", "cache", _seconds),
    "language": _Kind("(en|zh)", "one of en, zh behind the name", "language"),
    "account": _Kind(r"(\S.*)", "`account NAME`", "account"),
}
_SHOWN = "`images 4`, `megapixels 4`, `timeout 900`, `200/day`, `user 5 USD/month`, `input 10 MB`, `formats jpg png webp`, `audit hash`"
