"""Images as base64 text, as they travel inside JSON."""

import base64

from pydantic import ConfigDict, TypeAdapter, ValidationError

# Pydantic decodes five times as fast as `base64`, and more at once would hold up every other request.
_BYTES = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))


def from_base64(text: str) -> bytes:
    """The bytes of a text that may be a data URL or broken into lines. Raises ValueError for what is not base64."""
    body = text.rpartition(",")[2] if text.startswith("data:") else text
    try:
        return _BYTES.validate_strings(body)
    except ValidationError:
        # Line breaks, and last characters with bits that mean nothing.
        return base64.b64decode("".join(body.split()), validate=True)
