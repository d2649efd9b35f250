"""A provider that accepts every key."""

from typing import Any

from dify_plugin import ModelProvider


class BareProvider(ModelProvider):
    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        del credentials
