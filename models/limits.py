"""The owner's limits: the grammar of the form's field `limits`.

Entries are `name value` pairs, separated by commas or newlines (Dify's page drops newlines):

    images 4, megapixels 4, timeout 900          one request
    10/minute, user 20/day, 5 USD/day            quotas: images or money, of everybody or of each end user
    input 10 MB, formats jpg png, instruction 2000
    models a b c, hosts a b, cache 24h, audit hash, language zh, account NAME

An entry whose feature this version does not have is refused, so that nobody relies on it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

from models.backends.errors import BadRequest
from models.images.sniff import FORMATS
from models.settings import Settings

type Audit = Literal["text", "hash", "none"]
type Language = Literal["en", "zh"]
type Window = Literal["minute", "day", "month"]

FIELD = "limits"
NO_LIMIT = 0
AVAILABLE = frozenset({"images", "megapixels", "timeout", "input", "formats", "instruction", "audit"})
"""The entries whose feature exists; `quotas` would stand for all quotas."""

MIME_TYPES: Mapping[str, str] = {
    "jpg": "image/jpeg",
    **{mime.removeprefix("image/"): mime for mime in FORMATS.values()},
}
"""File formats as owners write them."""


class _EntryError(ValueError):
    """An entry that cannot be used: its words, what is wrong with them, what to write."""

    def __init__(self, entry: str, what: str, wanted: str) -> None:
        super().__init__(f"“{entry}” {what}. {wanted}")
        self.entry, self.what, self.wanted = entry, what, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most `amount` images, or `amount` of `currency`, in each `window`; of everybody, or of each end user."""

    amount: Decimal
    currency: str | None
    window: Window
    per_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the owner allows. None: not limited.

    `images`, `megapixels` (each 1024 × 1024 pixels) and `timeout` (seconds) are the most for one request. `formats`
    (MIME types, empty: any), `input_mb` (of 1,000,000 bytes) and `instruction` (characters) are the rules for editing; 0
    is no limit. `cache` is seconds.
    """

    images: int | None = None
    megapixels: float | None = None
    timeout: float | None = None
    quotas: tuple[Quota, ...] = ()
    input_mb: float = 10.0
    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp")
    instruction: int = 2000
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    cache: float = 24 * 3600.0
    audit: Audit = "hash"
    language: Language | None = None
    account: str = ""

    @classmethod
    def read(cls, settings: Settings) -> "Limits":
        """Raises BadRequest for what cannot be read, quoting the entry and naming the field."""
        try:
            return cls.parse(settings.text(FIELD))
        except _EntryError as error:
            raise BadRequest(
                f"“{error.entry[:80]}” in {settings.where(FIELD)} {error.what}", next_step=error.wanted
            ) from None

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Raises ValueError for what cannot be read."""
        values: dict[str, object] = {}
        quotas: list[Quota] = []
        for entry in _entries(text):
            name, value = _read(entry)
            if isinstance(value, Quota):
                if any(_same_kind(value, other) for other in quotas):
                    raise _EntryError(entry, "limits what an entry before it limits", "Write each limit once")
                quotas.append(value)
            elif name in values:
                raise _EntryError(entry, f"names {name} again", "Write each limit once")
            else:
                values[name] = value
        return cls(**values, quotas=tuple(quotas))  # type: ignore[arg-type]  # each reader gives the type of its field


_SEPARATORS = re.compile(r"[,;、\n]")
_NAME_ENDS = re.compile(r"\s*[:=\s]\s*")
_QUOTA = re.compile(
    r"(?P<user>user\s+)?(?P<amount>\d+(?:\.\d+)?)\s*(?P<currency>[a-z]{3})?\s*/\s*(?P<window>[a-z]+)", re.IGNORECASE
)
_LIKE_A_QUOTA = re.compile(r"[\d./-]|user\b", re.IGNORECASE)
_WINDOWS = ("minute", "day", "month")
_QUOTA_FORM = "Write a quota like `10/minute`, `user 20/day` or `5 USD/month`"


def _entries(text: str) -> Iterator[str]:
    """Full-width commas, digits and letters count as the plain ones."""
    for entry in _SEPARATORS.split(unicodedata.normalize("NFKC", text)):
        if entry.strip():
            yield " ".join(entry.split())


def _read(entry: str) -> tuple[str, object]:
    """The field of Limits that an entry sets, and its value."""
    if _LIKE_A_QUOTA.match(entry):
        _require_available("quotas", entry)
        return "quotas", _quota(entry)
    name, value = _NAME_ENDS.split(entry, maxsplit=1) if _NAME_ENDS.search(entry) else (entry, "")
    name = name.casefold()
    reader = _READERS.get(name)
    if reader is None:
        raise _EntryError(entry, "is not a limit", f"Write entries like {', '.join(_SHOWN)}")
    _require_available(name, entry)
    return reader.field, reader.read(entry, value)


def _require_available(feature: str, entry: str) -> None:
    if feature not in AVAILABLE:
        raise _EntryError(entry, "is not available in this version", "Take it out")


def _quota(entry: str) -> Quota:
    found = _QUOTA.fullmatch(entry)
    window = found["window"].casefold() if found else ""
    amount = Decimal(found["amount"]) if found else Decimal(0)
    currency = found["currency"] if found else None
    if found is None or window not in _WINDOWS or amount <= 0 or (currency is None and amount % 1):
        raise _EntryError(entry, "is not a quota", _QUOTA_FORM)
    return Quota(
        amount=amount,
        currency=currency.upper() if currency else None,
        window=cast("Window", window),
        per_user=bool(found["user"]),
    )


def _same_kind(one: Quota, other: Quota) -> bool:
    return (one.currency, one.window, one.per_user) == (other.currency, other.window, other.per_user)


type _Read = Callable[[str, str], object]


def _number(wanted: str, *, lowest: float = 0.0, whole: bool = False, unit: str = "") -> _Read:
    """A reader of plain digits with an optional unit: signs, exponents, `inf` and `nan` are none."""
    form = re.compile(rf"(\d{{1,9}}{'' if whole else r'(?:\.\d{1,6})?'})\s*(?:{unit})?", re.IGNORECASE)

    def read(entry: str, value: str) -> float:
        found = form.fullmatch(value)
        if found is None or float(found[1]) < lowest:
            raise _EntryError(entry, "cannot be read", f"Write {wanted}")
        return int(found[1]) if whole else float(found[1])

    return read


def _one_of(*words: str) -> _Read:
    def read(entry: str, value: str) -> str:
        if value.casefold() not in words:
            raise _EntryError(entry, "cannot be read", f"Write one of {', '.join(words)} behind the name")
        return value.casefold()

    return read


def _names(entry: str, value: str) -> tuple[str, ...]:
    if not value:
        raise _EntryError(entry, "names nothing", f"Write `{entry} NAME NAME`")
    return tuple(dict.fromkeys(value.split()))


def _hosts(entry: str, value: str) -> tuple[str, ...]:
    return tuple(name.casefold() for name in _names(entry, value))


def _formats(entry: str, value: str) -> tuple[str, ...]:
    if value == str(NO_LIMIT):
        return ()
    names = [name.casefold().lstrip(".") for name in value.split()]
    if not names or not set(names) <= set(MIME_TYPES):
        raise _EntryError(entry, "cannot be read", f"Write formats with some of {' '.join(MIME_TYPES)}, or 0 for any")
    return tuple(dict.fromkeys(MIME_TYPES[name] for name in names))


def _duration(entry: str, value: str) -> float:
    seconds = {"m": 60, "h": 3600, "d": 86_400}
    found = re.fullmatch(r"(\d{1,6})\s*([mhd])", value.casefold())
    if found is None or not int(found[1]):
        raise _EntryError(entry, "cannot be read", "Write a duration like `cache 24h` (m, h or d)")
    return float(int(found[1]) * seconds[found[2]])


def _account(entry: str, value: str) -> str:
    if not value:
        raise _EntryError(entry, "names nothing", "Write `account NAME`")
    return value


@dataclass(frozen=True, slots=True)
class _EntryReader:
    """How one entry is read, and into which field of Limits."""

    field: str
    read: _Read


_READERS: Mapping[str, _EntryReader] = {
    "images": _EntryReader("images", _number("a whole number above 0, like `images 4`", lowest=1, whole=True)),
    "megapixels": _EntryReader("megapixels", _number("a number above 0, like `megapixels 4`", lowest=1e-6)),
    "timeout": _EntryReader("timeout", _number("seconds, at least 1, like `timeout 900`", lowest=1, unit="s")),
    "input": _EntryReader("input_mb", _number("megabytes like `input 10 MB`, or 0 for no limit", unit="mb")),
    "formats": _EntryReader("formats", _formats),
    "instruction": _EntryReader(
        "instruction", _number("characters like `instruction 2000`, or 0 for no limit", whole=True)
    ),
    "models": _EntryReader("models", _names),
    "hosts": _EntryReader("hosts", _hosts),
    "cache": _EntryReader("cache", _duration),
    "audit": _EntryReader("audit", _one_of("text", "hash", "none")),
    "language": _EntryReader("language", _one_of("en", "zh")),
    "account": _EntryReader("account", _account),
}
_SHOWN = ("`images 4`", "`megapixels 4`", "`timeout 900`", "`input 10 MB`", "`formats jpg png webp`", "`audit hash`")
