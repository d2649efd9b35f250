"""The observer that keeps each audit record as a small JSON object in the owner's storage, beside the line in the log.

It is written beside the requests and never waited for: the line in the log is the complete record.
"""

import json
import time
from dataclasses import dataclass

from gevent.pool import Group

from models.backends.errors import logger
from models.limits import Audit
from models.settings import Settings
from models.stages.audit import Receipt, record
from models.storage.failures import StoreError
from models.storage.objects import Bucket

_MOST = 1000  # records that wait in this process

_waiting = Group()


@dataclass(frozen=True, slots=True, repr=False)  # it would print its secrets
class AuditStore:
    """`secrets` never stand in a record."""

    bucket: Bucket
    audit: Audit
    secrets: tuple[str, ...]

    @classmethod
    def read(cls, settings: Settings, audit: Audit) -> "AuditStore | None":
        """None without a storage. Raises BadRequest for one that cannot be read."""
        bucket = Bucket.of(settings)
        return cls(bucket, audit, settings.secrets) if bucket else None

    def __call__(self, receipt: Receipt) -> None:
        try:
            body = json.dumps(record(receipt, self.audit, self.secrets), ensure_ascii=False).encode()
        except Exception:  # noqa: BLE001 -- an observer never raises
            logger.warning("the audit record of request %s could not be made", receipt.id)
            return
        if len(_waiting) < _MOST:
            _waiting.spawn(self._keep, receipt, body)
        else:
            logger.warning("the audit record of request %s is not in the store: %d wait already", receipt.id, _MOST)

    def _keep(self, receipt: Receipt, body: bytes) -> None:
        day = time.strftime("%Y/%m/%d", time.gmtime(receipt.time))
        try:
            self.bucket.put(f"audit/{day}/{receipt.id}.json", body, {"Content-Type": "application/json"})
        except StoreError as error:
            logger.warning("the audit record of request %s is not in the store: %s", receipt.id, error.said)
