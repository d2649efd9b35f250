"""The credential form, read once per call into one typed object per service."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

# The form's fields of a customizable model; a provider-level field is `<prefix>_<name>`.
SECRET_FIELDS = ("api_key", "password")


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

    def field(self, name: str) -> str:
        """The name of a form field as the user sees it: `stability_api_key`, or `api_key` on a model's own form."""
        return f"{self.prefix}_{name}" if self.prefix else name

    @property
    def place(self) -> str:
        """Where the user finds the field."""
        return "in the provider's settings" if self.prefix else "in the model's settings"

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(value for name in SECRET_FIELDS if (value := getattr(self, name)))

    def __repr__(self) -> str:  # a dataclass would print its secrets
        return f"Access(prefix={self.prefix!r}, base_url={self.base_url!r})"


_NAMES = tuple(f.name for f in fields(Access) if f.name != "prefix")


def is_custom(credentials: Mapping[str, object]) -> bool:
    """A customizable model's credentials name their backend; the provider's form has no such field."""
    return bool(credentials.get("backend"))


def read_access(credentials: Mapping[str, object], prefix: str) -> Access:
    """Read the fields of one service: `<prefix>_*` of the provider's form, or the plain names of a model's own form."""
    if is_custom(credentials):
        return Access(**{name: _text(credentials.get(name)) for name in _NAMES})
    return Access(prefix=prefix, **{name: _text(credentials.get(f"{prefix}_{name}")) for name in _NAMES})


def all_secrets(credentials: Mapping[str, object]) -> tuple[str, ...]:
    """Every secret value of a credential form, for the last redaction at the entry."""
    return tuple(_text(value) for name, value in credentials.items() if name.endswith(SECRET_FIELDS) and _text(value))


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
