"""The credentials of the provider and of customizable models, read from a file and the environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from sandbox.errors import UsageError
from sandbox.forms import stored_values
from sandbox.host import Values
from sandbox.package import Package


class CredentialsFileError(UsageError):
    """The credentials are invalid: malformed JSON, an unknown field or a missing required field."""


@dataclass(frozen=True)
class Credentials:
    """Credentials of the provider, and of each customizable model by name."""

    provider: Values = field(default_factory=dict)
    models: Mapping[str, Values] = field(default_factory=dict)

    def of(self, model: str) -> Values:
        """The credentials sent with a call of this model: its own if it is a customizable model."""
        return self.models.get(model, self.provider)


class _File(BaseModel):
    """`{"<variable>": "<value>", ..., "models": {"<name>": {...}}}`."""

    model_config = ConfigDict(extra="allow")

    models: dict[str, dict[str, JsonValue]] = {}


def load_credentials(path: Path | None, environment: Mapping[str, str], package: Package) -> Credentials:
    """
    The file's values, then the environment's: `<PROVIDER>_<VARIABLE>`, e.g. `IMAGE_GENERATION_STABILITY_API_KEY`.

    Raises:
        CredentialsFileError: see there. No value is ever quoted.

    """
    content = _read(path) if path else _File()
    provider = {**(content.model_extra or {}), **_from_environment(environment, package)}
    return Credentials(provider=_validated(provider, package), models=content.models)


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        msg = f"credentials file not found: {path}"
        raise CredentialsFileError(msg) from error
    except (ValueError, ValidationError) as error:
        msg = f"{path} is not a JSON object of credentials"
        raise CredentialsFileError(msg) from error


def _from_environment(environment: Mapping[str, str], package: Package) -> dict[str, str]:
    prefix = f"{package.provider.upper()}_"
    return {name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)}


def _validated(values: Mapping[str, object], package: Package) -> Values:
    known = [field.variable for field in package.form]
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f"the provider's form has no field {', '.join(unknown)}; it has: {', '.join(known)}"
        raise CredentialsFileError(msg)
    try:
        return stored_values(package.form, values)
    except ValueError as error:
        raise CredentialsFileError(str(error)) from error
