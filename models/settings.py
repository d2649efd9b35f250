"""The one reader of settings: the credential form's value, else the environment's, else the default.

A form is the provider's, with a field `<prefix>_<name>` per service, or a customizable model's own, which names its
`backend` and has plain names. The environment (`IMAGE_GENERATION_` + the field's name in capitals) stands for the
whole Dify instance and fills in the provider's form alone.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

_ENVIRONMENT = "IMAGE_GENERATION_"
_SECRET_ENDINGS = ("api_key", "password", "secret", "headers", "storage_url", "redis_url", "embedding_url")
_BEARER = re.compile(r"(?i)^bearer\s+")


@dataclass(frozen=True, slots=True)
class Settings:
    """One credential form. `values` is what the host sent, `environment` what the process inherited."""

    values: Mapping[str, object]
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def is_custom(self) -> bool:
        """Whether this is a customizable model's own form: the provider's has no field `backend`."""
        return bool(self.values.get("backend"))

    @property
    def place(self) -> str:
        """Where the user finds the form."""
        return "in the model's settings" if self.is_custom else "in the provider's settings"

    def text(self, name: str, default: str = "") -> str:
        """The value of a field, without white space around it."""
        own = self.values.get(name)
        value = own.strip() if isinstance(own, str) else ""
        if not value and not self.is_custom:
            value = self.environment.get(f"{_ENVIRONMENT}{name.upper()}", "").strip()
        return value or default

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the last redaction at the entry."""
        from_environment = (
            name.removeprefix(_ENVIRONMENT).lower() for name in self.environment if name.startswith(_ENVIRONMENT)
        )
        names = dict.fromkeys((*self.values, *from_environment))
        found = (self.text(name) for name in names if name.endswith(_SECRET_ENDINGS))
        return tuple(part for value in found if value for part in _parts(value))

    def __repr__(self) -> str:  # a dataclass would print its secrets
        return f"Settings({sorted(self.values)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one service is reached, whichever of the two forms said so. Empty strings mean: not given.

    `prefix` is empty for a customizable model and the service's prefix ("stability") for the provider's form.
    """

    prefix: str = ""
    base_url: str = ""
    api_key: str = ""
    username: str = ""
    password: str = ""
    region: str = ""
    dialect: str = ""
    remote_model: str = ""
    workflow: str = ""
    checkpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Settings, prefix: str) -> "Access":
        """The fields of one service: `<prefix>_*` of the provider's form, or the plain names of a model's own form.

        Raises ValueError for `headers` that cannot be read.
        """
        before = "" if settings.is_custom else f"{prefix}_"
        texts = {name: settings.text(f"{before}{name}") for name in _TEXT_FIELDS}
        texts["api_key"] = _BEARER.sub("", texts["api_key"])
        headers = read_headers(settings.text("headers")) if settings.is_custom else {}
        return cls(prefix="" if settings.is_custom else prefix, headers=headers, **texts)

    def field(self, name: str) -> str:
        """The name of a form field as the user sees it: `stability_api_key`, or `api_key` on a model's own form."""
        return f"{self.prefix}_{name}" if self.prefix else name

    @property
    def place(self) -> str:
        """Where the user finds the field."""
        return "in the provider's settings" if self.prefix else "in the model's settings"

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(value for value in (self.api_key, self.password, *self.headers.values()) if value)

    def __repr__(self) -> str:  # a dataclass would print its secrets
        return f"Access(prefix={self.prefix!r}, base_url={self.base_url!r})"


_TEXT_FIELDS = tuple(f.name for f in fields(Access) if f.name not in {"prefix", "headers"})


def read_headers(text: str) -> dict[str, str]:
    """`Name: value` pairs separated by newlines or `;`, or a JSON object. Raises ValueError naming what is wrong."""
    if not text:
        return {}
    pairs = _json_pairs(text) if text.startswith("{") else _plain_pairs(text)
    headers: dict[str, str] = {}
    for name, value in pairs:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"`headers` has no header name before the value of pair {len(headers) + 1}")
        headers[name] = value
    return headers


def _json_pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        parsed = json.loads(text)
    except ValueError:
        raise ValueError("`headers` begins like a JSON object and is none") from None
    for name, value in parsed.items():
        yield str(name), str(value)


def _plain_pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in re.split(r"[;\n]", text):
        if pair.strip():
            name, colon, value = pair.partition(":")
            yield (name.strip(), value.strip()) if colon else ("", "")


def _parts(value: str) -> tuple[str, ...]:
    """A secret, and the secrets inside it: the values of `headers`, the login of an address."""
    try:
        inside = tuple(read_headers(value).values()) if ":" in value and "://" not in value else ()
    except ValueError:
        inside = ()
    login = re.match(r"\w+://([^/@:]*):?([^/@]*)@", value)
    return (value, *inside, *(login.groups() if login else ()))
