"""Where entries are kept: in the owner's storage below `cache/`, else in a file of the plugin's folder."""

from dataclasses import dataclass
from typing import Protocol

from models.clock import Clock
from models.settings import Settings
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.local import FILE, LocalState
from models.storage.failures import StoreError
from models.storage.objects import Bucket, Patience

_PATIENCE = Patience(seconds=10.0, retries=1)  # a slow cache is worse than none


class Shelf(Protocol):
    """Files by name; the names of two accounts never meet. Both methods raise CacheFaultError."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, data: bytes, seconds: float) -> None:
        """Keep a file for at least `seconds`, unless it is pushed out."""


@dataclass(frozen=True, slots=True)
class LocalShelf:
    state: LocalState
    account: str

    def get(self, name: str) -> bytes | None:
        return self.state.get(f"{self.account}/{name}")

    def put(self, name: str, data: bytes, seconds: float) -> None:
        self.state.put(f"{self.account}/{name}", data, seconds)


@dataclass(frozen=True, slots=True)
class StoreShelf:
    """The store has no clock of its own: the readers of entries look at their age."""

    bucket: Bucket
    account: str

    def get(self, name: str) -> bytes | None:
        try:
            return self.bucket.get(self._name(name))
        except StoreError as error:
            raise CacheFaultError(error.said, error.next_step) from None

    def put(self, name: str, data: bytes, seconds: float) -> None:
        del seconds
        try:
            self.bucket.put(self._name(name), data, {"Content-Type": "application/octet-stream"})
        except StoreError as error:
            raise CacheFaultError(error.said, error.next_step) from None

    def _name(self, name: str) -> str:
        return f"cache/{self.account}/{name}"


def shelf_of(settings: Settings, account: str, clock: Clock) -> Shelf:
    """Raises BadRequest for a storage that cannot be read."""
    if bucket := Bucket.of(settings, _PATIENCE):
        return StoreShelf(bucket, account)
    return LocalShelf(LocalState(settings.state_folder / FILE, clock), account)
