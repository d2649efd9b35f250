"""The only module that talks to a store: objects are put, read and deleted, and their addresses made.

obstore waits outside Python's sockets: called from a greenlet it would stop the whole process. Every call therefore
runs in gevent's thread pool, and its asyncio API is never used.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from models.settings import Settings
from models.storage.address import FIELD, Kind, StoreAddress
from models.storage.failures import StoreError, explained
from models.threads import ThreadShare

if TYPE_CHECKING:
    from obstore import SignCapableStore
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Credential

_THREADS = ThreadShare(6)
"""Of the pool's ten; two are for image files, and host names are resolved there too."""
_CONNECT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a store may take: seconds for one call, and how often a failed one is repeated."""

    seconds: float = 30.0
    retries: int = 2


PATIENT = Patience()


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store as the plugin uses it; names are relative to its prefix. `field` names the form's field in messages.

    Every method raises StoreError.
    """

    address: StoreAddress
    field: str
    patience: Patience

    @classmethod
    def of(cls, settings: Settings, patience: Patience | None = None) -> "Bucket | None":
        """The store of a form; None where there is none. Raises BadRequest for fields that cannot be read."""
        address = StoreAddress.read(settings)
        return cls(address, settings.where(FIELD), patience or PATIENT) if address else None

    def put(self, name: str, data: bytes, attributes: Mapping[str, str] | None = None) -> None:
        """Write an object. `attributes` are its `Content-Type` and `Cache-Control`, any other name is metadata."""
        # A folder has no place for attributes, and obstore refuses them there.
        kept = None if self.address.kind == "file" else dict(attributes or {})
        self._call(lambda store: obstore.put(store, name, data, attributes=kept, use_multipart=False))

    def get(self, name: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        return self._call(lambda store: bytes(obstore.get(store, name).bytes()), may_lack=True)

    def exists(self, name: str) -> bool:
        return bool(self._call(lambda store: obstore.head(store, name), may_lack=True))

    def delete(self, name: str) -> None:
        self._call(lambda store: obstore.delete(store, name), may_lack=True)

    def url(self, name: str) -> str:
        """The object's address: below the public base, else signed for `link_hours`; empty for a folder without one."""
        if self.address.public_url or self.address.kind == "file":
            return self.address.public(name)
        hours = timedelta(hours=self.address.link_hours)
        return self._call(lambda store: obstore.sign(cast("SignCapableStore", store), "GET", name, hours)) or ""

    def _call[R](self, work: Callable[["ObjectStore"], R], *, may_lack: bool = False) -> R | None:
        """What `work` returns; None where it finds no object and `may_lack`."""
        try:
            return _THREADS.run(lambda: work(_opened(self.address, self.patience)))
        except FileNotFoundError as error:
            if may_lack and "<Code>NoSuchBucket</Code>" not in str(error):
                return None
            raise self._explained(error) from None
        except Exception as error:  # noqa: BLE001 -- obstore raises its own errors, ValueError and OSError
            raise self._explained(error) from None  # the raw error holds addresses and headers

    def _explained(self, error: Exception) -> StoreError:
        return explained(error, field=self.field, place=self.address.place)


@lru_cache(32)
def _opened(address: StoreAddress, patience: Patience) -> "ObjectStore":
    """One client per store and process: it holds the open connections. Raises ValueError for a key that cannot be read."""
    if address.kind == "file":
        return LocalStore(address.folder, mkdir=True)
    client: ClientConfig = {
        "connect_timeout": _CONNECT,
        "timeout": timedelta(seconds=patience.seconds),
        "allow_http": not address.endpoint.startswith("https://"),
    }
    retry: RetryConfig = {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.seconds),
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    common: dict[str, Any] = {"prefix": address.prefix or None, "client_options": client, "retry_config": retry}
    return _OPEN[address.kind](address, common)


def _s3(address: StoreAddress, common: Mapping[str, Any]) -> S3Store:
    def login() -> "S3Credential":
        return {
            "access_key_id": address.key,
            "secret_access_key": address.secret,
            "token": None,
            "expires_at": None,
        }

    # `disable_bulk_delete`: not every server that speaks S3 has the request for many objects.
    # The login not as configuration: a session token of the machine's environment would be mixed with it.
    return S3Store(
        address.bucket,
        endpoint=address.endpoint,
        region=address.region,
        virtual_hosted_style_request=address.virtual_hosted,
        credential_provider=login,
        disable_bulk_delete=True,
        **common,
    )


def _gs(address: StoreAddress, common: Mapping[str, Any]) -> GCSStore:
    config: GCSConfig = {}
    if address.key:
        config["service_account_key"] = _service_account(address.key)
    if address.endpoint:
        config["base_url"] = address.endpoint
    return GCSStore(address.bucket, config=config, **common)


def _service_account(key: str) -> str:
    try:
        return base64.b64decode(key + "=" * (-len(key) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("unable to decode service account") from None


def _az(address: StoreAddress, common: Mapping[str, Any]) -> AzureStore:
    config: AzureConfig = {"account_name": address.key, "account_key": address.secret}
    if address.endpoint:
        config["endpoint"] = address.endpoint
    return AzureStore(address.bucket, config=config, **common)


_OPEN: Mapping[Kind, Callable[[StoreAddress, Mapping[str, Any]], "SignCapableStore"]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}
