"""A store tried when a form is saved: a tiny object is written, read, fetched by its address and deleted."""

import uuid
from http import HTTPStatus
from urllib.parse import urlsplit

from models.backends.errors import BadRequest, ConnectionFailed, ImageError, logger
from models.backends.http import ONCE, Service
from models.clock import Clock, Deadline, SystemClock
from models.settings import Settings
from models.storage.address import PUBLIC_FIELD
from models.storage.failures import StoreError
from models.storage.objects import Bucket, Patience

_PATIENCE = Patience(seconds=6.0, retries=0)  # the host's page shows nothing meanwhile
_TEXT = b"Written by the image plugin to test the storage; it may be deleted."
_ATTRIBUTES = {"Content-Type": "text/plain"}


def check_storage(settings: Settings, clock: Clock | None = None) -> None:
    """Nothing where no storage is configured. Raises BadRequest that names the field to correct."""
    bucket = Bucket.of(settings, _PATIENCE)
    if bucket is None:
        return
    name = f"probe-{uuid.uuid4().hex}.txt"
    doing = "writing"
    try:
        bucket.put(name, _TEXT, _ATTRIBUTES)
        doing = "reading"
        read = bucket.get(name)
        address = bucket.url(name)
        reachable = _fetched(address, clock or SystemClock()) if address else ""
        doing = "deleting"
        bucket.delete(name)
    except StoreError as error:
        raise BadRequest(
            f"The storage was tested, and {doing} a file failed", error.said, _sentence(error.next_step)
        ) from None
    if read != _TEXT:
        raise BadRequest(f"The storage in {bucket.field} gave back another file than was written")
    if reachable:
        raise BadRequest(
            "A file of the storage cannot be fetched by its address",
            reachable,
            f"Correct {settings.where(PUBLIC_FIELD)}: it must be the public address of the same prefix"
            if bucket.address.public_url
            else f"Correct the host in {bucket.field}",
        )


def _fetched(address: str, clock: Clock) -> str:
    """What is wrong with the address; empty if it gives the file. The plugin may be unable to reach a good address."""
    parts = urlsplit(address)
    service = Service(
        name="the storage's address", base_url=f"{parts.scheme}://{parts.netloc}", clock=clock, secrets=(parts.query,)
    )
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        reply = service.request(
            "GET",
            path,
            attempt="Fetching a file of the storage",
            deadline=Deadline.after(clock, _PATIENCE.seconds),
            max_bytes=len(_TEXT) * 100,
            retries=ONCE,
        )
    except ConnectionFailed as error:
        logger.warning("the storage's address could not be tested from here: %s", error.said)
        return ""
    except ImageError as error:
        return error.said
    return "" if reply.status == HTTPStatus.OK and reply.body == _TEXT else "it shows something else"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
