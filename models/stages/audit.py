"""The audit line: one line per request in the plugin's log, whatever became of it.

`image_request ` is followed by one JSON object with the fields of a Receipt. The prompt stands there as text, as its
SHA-256 or not at all, as the owner's `limits` entry `audit text|hash|none` says.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from models.backends.errors import redact
from models.host_errors import logger
from models.limits import Audit
from models.receipt import Receipt

_PREFIX = "image_request "
_LONGEST_PROMPT = 20_000  # characters; a log line is read by people


@dataclass(frozen=True, slots=True)
class AuditLog:
    """`secrets` are hidden wherever they turn up: a user may paste a key into a prompt."""

    audit: Audit
    secrets: tuple[str, ...]

    def __call__(self, receipt: Receipt) -> None:
        try:
            logger.info("%s", _PREFIX + json.dumps(self._fields(receipt), ensure_ascii=False))
        except Exception:  # noqa: BLE001 -- a request never fails because of its log line
            logger.warning("the audit line of request %s could not be written", receipt.id)

    def _fields(self, receipt: Receipt) -> dict[str, object]:
        fields = {name: self._clean(value) for name, value in asdict(receipt).items() if name != "prompt"}
        if prompt := self._prompt(receipt.prompt):
            fields["prompt"] = prompt
        return fields

    def _prompt(self, prompt: str) -> str:
        if not prompt or self.audit == "none":
            return ""
        if self.audit == "text":
            return redact(prompt[:_LONGEST_PROMPT], self.secrets)
        return f"sha256:{hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _clean(self, value: object) -> object:
        return redact(value, self.secrets) if isinstance(value, str) else value
