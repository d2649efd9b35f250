"""The observer that tells another system of every outcome: events `image.succeeded` and `image.failed`.

The body is the receipt with the addresses of the images, signed by the Standard Webhooks scheme
(https://www.standardwebhooks.com). Events are sent beside the requests and tried again; what waits when the process
ends is lost, and what is given up is logged.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from standardwebhooks import Webhook

from models.backends.errors import BadRequest, ImageError, logger, redact
from models.backends.http import ONCE, Service, basic_auth, split_userinfo, with_scheme
from models.backends.reply import Reply
from models.clock import Clock, Deadline, SystemClock
from models.limits import Audit
from models.settings import Settings
from models.stages.audit import Receipt, record

URL, SECRET = "webhook_url", "webhook_secret"
SECONDS = 15.0
"""For one attempt."""
DELAYS = (2.0, 10.0, 60.0, 300.0)
"""Seconds before each further attempt; a receiver may ask for more by `Retry-After`."""
_LONGEST = 900.0  # seconds that a receiver may ask for
_MOST = 1000  # events that wait in this process
_SHORTEST = 24  # bytes of a secret, by the scheme
_REFUSALS = tuple(range(400, 600))

_waiting = Group()
_at_once = BoundedSemaphore(8)


@dataclass(frozen=True, slots=True, repr=False)  # it would print its secrets
class WebhookSender:
    """The receiver, its secret, and how much of a prompt it may see."""

    service: Service
    path: str
    secret: str
    audit: Audit
    secrets: tuple[str, ...]

    @classmethod
    def read(cls, settings: Settings, audit: Audit = "hash", clock: Clock | None = None) -> "WebhookSender":
        """Raises BadRequest for an address or a secret that cannot be used, naming the field."""
        address, user, password = split_userinfo(with_scheme(settings.text(URL)))
        base, path = _base_and_path(address, settings.where(URL))
        service = Service(
            name="the webhook's receiver",
            base_url=base,
            clock=clock or SystemClock(),
            settings=settings.where(URL),
            headers=basic_auth(user, password),
            secrets=tuple(filter(None, (password,))),
        )
        return cls(service, path, _secret(settings), audit, settings.secrets)

    def __call__(self, receipt: Receipt) -> None:
        try:
            kind = "image.succeeded" if receipt.outcome == "succeeded" else "image.failed"
            body = json.dumps(self._event(kind, receipt), ensure_ascii=False).encode()
            if len(_waiting) >= _MOST:
                logger.error("webhook: %s of request %s was lost: %d events wait already", kind, receipt.id, _MOST)
                return
            _waiting.spawn(self._deliver, kind, receipt.id, body)
        except Exception as error:  # noqa: BLE001 -- an observer never raises
            logger.error("webhook: the event of request %s could not be made: %s", receipt.id, type(error).__name__)

    def _event(self, kind: str, receipt: Receipt) -> dict[str, object]:
        ended = datetime.fromtimestamp(receipt.time + (receipt.seconds or 0.0), UTC)
        urls = list(receipt.image_urls)
        data = record(receipt, self.audit, self.secrets)
        data |= {"image_url": urls[0] if urls else None, "images": urls}
        return {"type": kind, "timestamp": ended.isoformat(timespec="milliseconds"), "data": data}

    def _deliver(self, kind: str, request: str, body: bytes) -> None:
        pauses = iter(DELAYS)
        while trouble := self._tried(f"msg_{request}", body):
            pause = None if trouble.final else next(pauses, None)
            if pause is None:
                logger.error(
                    "webhook: %s of request %s was lost: %s", kind, request, redact(trouble.said, self.secrets)
                )
                return
            self.service.clock.sleep(max(pause, min(trouble.asked, _LONGEST)))

    def _tried(self, ident: str, body: bytes) -> "_Trouble | None":
        try:
            with _at_once:
                reply = self._sent(ident, body)
        except ImageError as error:
            return _Trouble(error.said)
        except Exception as error:  # noqa: BLE001 -- nobody else would log it
            return _Trouble(type(error).__name__)
        if reply.ok:
            return None
        said = f"the receiver replied with HTTP {reply.status}"
        return _Trouble(said, asked=reply.retry_after or 0.0, final=reply.status == HTTPStatus.GONE)

    def _sent(self, ident: str, body: bytes) -> Reply:
        """The receiver's reply. Raises ImageError where it gave none."""
        clock = self.service.clock
        now = int(clock.now())
        signature = Webhook(self.secret).sign(ident, datetime.fromtimestamp(now, UTC), body.decode())
        return self.service.request(
            "POST",
            self.path,
            attempt="Sending the webhook",
            deadline=Deadline.after(clock, SECONDS),
            json=body,
            headers={
                "Content-Type": "application/json",
                "webhook-id": ident,
                "webhook-timestamp": str(now),
                "webhook-signature": signature,
            },
            retries=ONCE,
            accept=_REFUSALS,
        )


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why an attempt failed, the seconds to wait that the receiver asked for, and whether another one is of no use."""

    said: str
    asked: float = 0.0
    final: bool = False


def check_webhook(settings: Settings) -> None:
    """What is checked when a form is saved; nothing is sent. Raises BadRequest."""
    WebhookSender.read(settings)


def _base_and_path(address: str, where: str) -> tuple[str, str]:
    """The host and the rest, a query included. Raises BadRequest for an address that is none."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise BadRequest(f"{where} holds no URL", next_step="Write it as https://host/path")
    base = f"{parts.scheme}://{parts.netloc}"
    return base, address.removeprefix(base) or "/"


def _secret(settings: Settings) -> str:
    """Raises BadRequest for a missing secret and for one that is not base64 of enough bytes."""
    text, where = settings.text(SECRET), settings.where(SECRET)
    bare = text.removeprefix("whsec_")
    try:
        usable = len(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)) >= _SHORTEST
    except binascii.Error:
        usable = False
    if not usable:
        raise BadRequest(
            f"The webhook has no usable secret in {where}" if text else "The webhook has no secret",
            next_step=f"Write `whsec_` and the base64 of at least {_SHORTEST} random bytes into {where}",
        )
    return text
