"""Reads the plugin's folder like the daemon at installation: manifest, provider form, model cards."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, Field, ValidationError

from sandbox.errors import UsageError
from sandbox.forms import CredentialField, CredentialForm

_LOADER: type[yaml.SafeLoader] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml reads the cards ten times as fast


class PackageError(UsageError):
    """The folder contains no readable plugin."""


class _Plugins(BaseModel):
    models: list[str]


class _Manifest(BaseModel):
    author: str
    name: str
    version: str
    plugins: _Plugins


class _Llm(BaseModel):
    predefined: list[str]


class _Models(BaseModel):
    llm: _Llm


class _Provider(BaseModel):
    provider: str
    provider_credential_schema: CredentialForm = Field(default_factory=CredentialForm)
    models: _Models


class _Card(BaseModel):
    model: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """The plugin's declarations, read without starting it."""

    author: str
    name: str
    version: str
    provider: str
    form: tuple[CredentialField, ...]
    models: tuple[str, ...]


def read_package(folder: Path) -> Package:
    """
    Read the plugin in a folder.

    Raises:
        PackageError: a file is missing or malformed.

    """
    manifest = _read(folder / "manifest.yaml", _Manifest)
    provider = _read(folder / manifest.plugins.models[-1], _Provider)  # of several, the daemon keeps the last
    return Package(
        author=manifest.author,
        name=manifest.name,
        version=manifest.version,
        provider=provider.provider,
        form=provider.provider_credential_schema.credential_form_schemas,
        models=_model_names(folder, provider.models.llm.predefined),
    )


def _model_names(folder: Path, patterns: list[str]) -> tuple[str, ...]:
    cards = sorted(
        path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith("_position.")
    )
    return tuple(_read(card, _Card).model for card in cards)


def _read[M: BaseModel](path: Path, kind: type[M]) -> M:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _LOADER)  # noqa: S506 - both loaders are safe ones
        return kind.model_validate(content)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        msg = f"{path} cannot be read: {error}"
        raise PackageError(msg) from error
