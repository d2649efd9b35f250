"""The one reader of settings: the credential form's value, else the environment's, else the default.

A form is the provider's, with a field `<prefix>_<name>` per service, or a customizable model's own, which names its
`backend` and has plain names. The environment (`IMAGE_GENERATION_` + the field's name in capitals) stands for the
whole Dify instance: it fills in every field of the provider's form, those fields of a model's own form that the
provider's form has under the same name, and the key of the instance's Comfy account.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import yaml

SHARED_FIELDS = (
    *("waiting", "limits", "forbidden_words", "default_negative_prompt"),
    *("storage_url", "storage_public_url", "redis_url", "marks", "embedding_url"),
    *("moderation_url", "moderation_api_key", "webhook_url", "webhook_secret"),
)
"""The fields that stand under one name in both forms."""
INSTANCE_FIELDS = ("comfy_account_api_key",)
"""The fields of a model's own form alone that the environment fills in all the same."""
SECRET_ENDINGS = ("api_key", "password", "secret", "headers", "storage_url", "redis_url", "embedding_url")
"""A field whose name ends like this is a secret: the forms draw it as `secret-input`."""

_FINGERPRINT = ("base_url", "api_key", "username", "password", "region", "headers")
"""The fields of a form that say which account at which service it is."""
_ENVIRONMENT = "IMAGE_GENERATION_"
_FORMS = Path(__file__).parents[1] / "provider" / "image_generation.yaml"
_BEARER = re.compile(r"(?i)^bearer\s+")
_SECRET_HEADER = re.compile(r"(?i)auth|key|token|secret|cookie|pass|sign")
_LOGIN = re.compile(r"\w+://([^/@:\s]*):?([^/@\s]*)@")


@dataclass(frozen=True, slots=True, repr=False)  # it would print its secrets
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
        return _place(custom=self.is_custom)

    def text(self, name: str, default: str = "") -> str:
        """The value of a field, without white space around it."""
        return self._own(name) or self._inherited(name) or default

    def where(self, name: str) -> str:
        """Where the value of a field stands, or would stand, in words for a message."""
        if self._inherited(name) and not self._own(name):
            return f"the environment variable {_ENVIRONMENT}{name.upper()}"
        return f"{field_words(name, custom=self.is_custom)} {self.place}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the last redaction at the entry."""
        own = ((name, self._own(name)) for name in self.values)
        inherited = (
            (name.removeprefix(_ENVIRONMENT).lower(), value.strip())
            for name, value in self.environment.items()
            if name.startswith(_ENVIRONMENT)
        )
        found = (secret for name, value in (*own, *inherited) for secret in _secrets_of(name, value))
        return tuple(dict.fromkeys(filter(None, found)))

    @property
    def state_folder(self) -> Path:
        """The folder of the files that all calls and processes share; an upgrade brings a new folder of the plugin."""
        return Path(self.environment.get(f"{_ENVIRONMENT}STATE_DIR", "").strip() or _FORMS.parents[1])

    @property
    def fingerprint(self) -> str:
        """A hash of the service keys and addresses of the form that is used, to tell accounts apart."""
        prefixes = _FINGERPRINT if self.is_custom else tuple(f"_{name}" for name in _FINGERPRINT)
        inherited = (name.removeprefix(_ENVIRONMENT).lower() for name in self.environment)
        names = sorted(name for name in {*self.values, *inherited} if name.endswith(prefixes))
        filled = [(name, self.text(name)) for name in names if name not in SHARED_FIELDS and self.text(name)]
        return hashlib.sha256(json.dumps([self.text("backend"), filled]).encode()).hexdigest()[:32]

    def _own(self, name: str) -> str:
        own = self.values.get(name)
        return own.strip() if isinstance(own, str) else ""

    def _inherited(self, name: str) -> str:
        if self.is_custom and name not in (*SHARED_FIELDS, *INSTANCE_FIELDS):
            return ""
        return self.environment.get(f"{_ENVIRONMENT}{name.upper()}", "").strip()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # it would print its secrets
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
    canary_workflow: str = ""
    canary_percent: str = ""
    checkpoint: str = ""
    comfy_account_api_key: str = ""
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

    def words(self, name: str) -> str:
        """A form field as messages name it: “API key” (api_key)."""
        return field_words(f"{self.prefix}_{name}" if self.prefix else name, custom=not self.prefix)

    def where(self, name: str) -> str:
        """A form field and its form: “API key” (api_key) in the model's settings; else its environment variable."""
        if self.prefix and f"{self.prefix}_{name}" not in _labels(custom=False):
            return f"the environment variable {_ENVIRONMENT}{self.prefix.upper()}_{name.upper()}"
        return f"{self.words(name)} {self.place}"

    @property
    def place(self) -> str:
        """Where the user finds the field."""
        return _place(custom=not self.prefix)

    @property
    def secrets(self) -> tuple[str, ...]:
        own = (self.api_key, self.password, self.comfy_account_api_key, *_secret_headers(self.headers))
        return tuple(value for value in own if value)


_TEXT_FIELDS = tuple(f.name for f in fields(Access) if f.name not in {"prefix", "headers"})


def field_words(variable: str, *, custom: bool) -> str:
    """A form field as messages name it: its label, because the page shows nothing else, and its variable."""
    label = _labels(custom=custom).get(variable)
    return f"“{label}” ({variable})" if label else f"`{variable}`"


@cache
def _labels(*, custom: bool) -> Mapping[str, str]:
    schema = yaml.safe_load(_FORMS.read_text("utf-8"))
    form = schema["model_credential_schema" if custom else "provider_credential_schema"]
    return {entry["variable"]: entry["label"]["en_US"] for entry in form["credential_form_schemas"]}


def _place(*, custom: bool) -> str:
    return "in the model's settings" if custom else "in the provider's settings"


def read_headers(text: str) -> dict[str, str]:
    """`Name: value` pairs separated by newlines or `;`, or a JSON object. Raises ValueError naming what is wrong.

    A piece such as `q=0.8` behind a `;` belongs to the value before it.
    """
    if not text:
        return {}
    pairs = _json_pairs(text) if text.startswith("{") else _plain_pairs(text)
    headers: dict[str, str] = {}
    for place, (name, value) in enumerate(pairs, start=1):
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"`headers` has no header name before the value of pair {place}")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"The value of {name} in `headers` has characters that no header can carry")
        headers[name] = value
    return headers


def _json_pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        parsed = json.loads(text)
    except ValueError:
        raise ValueError("`headers` begins like a JSON object and is none") from None
    for name, value in parsed.items():
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"The value of {name} in `headers` is neither text nor a number")  # noqa: TRY004
        yield str(name), str(value).strip()


def _plain_pairs(text: str) -> Iterable[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for piece in re.split(r"[;\n]", text):
        name, colon, value = piece.partition(":")
        if pairs and not colon and "=" in piece:
            before, begun = pairs.pop()
            pairs.append((before, f"{begun};{piece.rstrip()}"))
        elif piece.strip():
            pairs.append((name.strip(), value.strip()) if colon else ("", ""))
    return pairs


def _secret_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The values that may be credentials: a tenant's name or `true` would be hidden wherever a message says it."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name) or not value.isalpha():
            yield value
            yield value.partition(" ")[2]


def _secrets_of(name: str, value: str) -> Iterator[str]:
    """The secrets in a field: a secret field's value whole, the values of `headers`, the login of any address."""
    if name.endswith(SECRET_ENDINGS):
        yield value
        yield _BEARER.sub("", value)
    if name.endswith("headers"):
        try:
            yield from _secret_headers(read_headers(value))
        except ValueError:
            yield from value.replace(":", " ").replace(";", " ").split()
    for login in _LOGIN.finditer(value):  # an address field may hold several
        parts = login.groups() if name.endswith(SECRET_ENDINGS) else login.groups()[1:]
        yield from (*parts, *map(unquote, parts))
