from typing import Any

from dify_plugin import ModelProvider
from dify_plugin.errors.model import CredentialsValidateFailedError


class MisbehavingProvider(ModelProvider):
    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        if credentials.get("api_key") == "wrong":
            msg = "Fill in another api_key."
            raise CredentialsValidateFailedError(msg)
