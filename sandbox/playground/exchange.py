"""The raw exchange with the plugin process for a reader: secrets blacked out, image data shortened."""

import json
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

_BLACK = "████"
_LONGEST = 400
_SHORTEST_SECRET = 4


def secrets_of(credentials: Mapping[str, JsonValue], secret_fields: Iterable[str]) -> list[str]:
    """The values that must not be shown, the longest first."""
    values = {str(credentials[name]) for name in secret_fields if credentials.get(name)}
    return sorted((value for value in values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def shown(document: JsonValue, secrets: Iterable[str]) -> str:
    """Indented JSON without any of the secrets."""
    return blackened(json.dumps(_shortened(document), ensure_ascii=False, indent=2), secrets)


def blackened(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        for written in {secret, json.dumps(secret, ensure_ascii=False)[1:-1]}:
            text = text.replace(written, _BLACK)
    return text


def masked(credentials: Mapping[str, JsonValue], secret_fields: Iterable[str]) -> dict[str, JsonValue]:
    """The credentials with every secret field blacked out as a whole."""
    secret = set(secret_fields)
    return {name: _BLACK if name in secret and value else value for name, value in credentials.items()}


def _shortened(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {key: _shortened(item) for key, item in value.items()}
        case list():
            return [_shortened(item) for item in value]
        case str() if len(value) > _LONGEST:
            return f"{value[: _LONGEST // 8]}... ({len(value)} characters)"
        case _:
            return value
