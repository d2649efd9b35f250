"""A server's lists of names, fetched when needed and cached for a minute, and the lookup in them.

The routes are in `lists.yaml`. A list that a server does not have (404) is None, which is no error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from gevent.lock import BoundedSemaphore
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from models.backends.cache import ServerCache
from models.backends.errors import BadRequest, ServerUnavailable, names_like
from models.backends.http import Retries, Service, timed_out
from models.backends.questions import optional
from models.clock import Deadline
from models.entities import StrictModel
from models.parameters import read_yaml

type Names = tuple[Name, ...] | None

_READ_TIMEOUT = 20.0
_RETRIES = Retries(delays=(0.2,))  # Forge closes a connection after an error; the next one works
NO_ROUTE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class _List(StrictModel):
    route: str
    fields: tuple[str, ...]


_DATA = read_yaml(Path(__file__).with_name("lists.yaml"))
LISTS = {name: _List.model_validate(entry) for name, entry in _DATA["lists"].items()}
CHOICES: Mapping[str, Sequence[str]] = _DATA["choices"]


@dataclass(frozen=True, slots=True)
class Name:
    """One entry of a list: the name to send, and its other spellings."""

    sent: str
    known_as: tuple[str, ...] = ()

    def means(self, word: str | None) -> bool:
        return word is not None and (word == self.sent or word in self.known_as)


def find(kind: str, asked: str, names: Sequence[Name]) -> Name:
    """The entry that `asked` means. Raises BadRequest with the nearest and the available names."""
    if found := lookup(asked, names):
        return found
    raise unknown_name(kind, asked, [name.sent for name in names])


def lookup(asked: str, names: Sequence[Name]) -> Name | None:
    """Exact spelling first, another known spelling next, then without regard to case where that is unambiguous."""
    exact = [name for name in names if name.sent == asked] or [name for name in names if name.means(asked)]
    folded = asked.casefold()
    similar = [name for name in names if any(word.casefold() == folded for word in (name.sent, *name.known_as))]
    return exact[0] if exact else similar[0] if len(similar) == 1 else None


def unknown_name(kind: str, asked: str, available: Sequence[str]) -> BadRequest:
    attempted = f"There is no {kind} {asked!r} on the server"
    if not available:
        return BadRequest(attempted, next_step=f"It has none; leave the {kind} empty")
    refresh = "a file added just now shows after a refresh in the WebUI"
    return BadRequest(attempted, next_step=f"It has: {names_like(asked, available)}; {refresh}")


class _ListEntry(BaseModel):
    name: str | None = None
    label: str | None = None
    alias: str | None = None
    aliases: tuple[str, ...] | None = None
    title: str | None = None
    model_name: str | None = None
    hash: str | None = None
    sha256: str | None = None
    filename: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None

    @property
    def file(self) -> str:
        return (self.filename or "").replace("\\", "/").rpartition("/")[2]  # the server may be a Windows machine

    @property
    def stem(self) -> str:
        return self.file.rpartition(".")[0] or self.file

    @property
    def tagged(self) -> str:
        return f"{self.model_name} [{self.hash}]" if self.hash else ""

    @property
    def short_aliases(self) -> tuple[str, ...]:
        # The API does not accept these aliases; other programs use them, with and without `k_`.
        return tuple(alias.removeprefix("k_") for alias in self.aliases or ())

    @property
    def style(self) -> str | None:
        # Forge's list has headings between the styles: entries without any text.
        return None if self.prompt is None and self.negative_prompt is None else self.name


_LIST_BODY = TypeAdapter[list[_ListEntry] | dict[str, JsonValue]](list[_ListEntry] | dict[str, JsonValue])
_WORDS = TypeAdapter[tuple[str, ...] | dict[str, JsonValue]](tuple[str, ...] | dict[str, JsonValue])


def read_list(name: str, body: bytes) -> tuple[Name, ...]:
    """The names in the reply of a list. Raises ServerUnavailable for a reply of another shape."""
    fields = LISTS[name].fields
    try:
        listed = _LIST_BODY.validate_json(body)
        if isinstance(listed, list):
            return tuple(_entry_names(listed, fields))
        # Some preprocessors need no model (reference_only), which is requested as "None".
        none = ("None",) if name == "controlnet_models" else ()
        words = (word for field in fields for word in _WORDS.validate_python(listed[field]))
        # "control_v11p_sd15_canny [d14c016b]": users write the name without its hash.
        return tuple(Name(word, (word.partition(" [")[0],)) for word in dict.fromkeys((*words, *none)))
    except (ValidationError, KeyError):
        raise ServerUnavailable(
            f"{_attempt(name)} failed",
            "the reply was not understood",
            "Check that the address is that of a Stable Diffusion WebUI and that no proxy replies in its place",
        ) from None


def _entry_names(entries: Sequence[_ListEntry], fields: Sequence[str]) -> Iterator[Name]:
    for entry in entries:
        values = [getattr(entry, field) or () for field in fields]
        words = dict.fromkeys(word for value in values for word in ([value] if isinstance(value, str) else value))
        if words:
            sent, *others = words
            yield Name(sent, tuple(others))


def _attempt(name: str) -> str:
    return f"Asking the WebUI for its {name.replace('_', ' ')}"


_FRESH = 60.0  # seconds for which a list is not fetched again
_KEPT: ServerCache[tuple[float, Names]] = ServerCache(seconds=24 * 3600)  # with the time at which each was read
_LOCKS: ServerCache[BoundedSemaphore] = ServerCache(seconds=60)


@dataclass(frozen=True, slots=True)
class ServerLists:
    service: Service
    deadline: Deadline

    def get(self, name: str, *, fresh: bool = False) -> Names:
        """The names, or None where the server has no such list. Raises ImageError if it cannot be fetched.

        `fresh` ignores the cache: a file may just have been added.
        """
        lock, now = self._lock(name), self.service.clock.monotonic
        if not lock.acquire(timeout=self.deadline.remaining):
            raise timed_out(_attempt(name))
        try:
            kept = _KEPT.get(self.service, name)
            if kept is None or fresh or now() >= kept[0] + _FRESH:
                kept = now(), self._fetch(name)
                _KEPT.put(self.service, kept, name)
            return kept[1]
        finally:
            lock.release()

    def offered(self, name: str, *, fresh: bool = False) -> tuple[Name, ...]:
        """The names for a form. Never raises: a server that does not answer is left alone for a while, and the last names
        known are given."""
        names = optional(self.service, lambda: self.get(name, fresh=fresh) or (), None)
        if names is None and (kept := _KEPT.get(self.service, name)):
            names = kept[1]
        return names or ()

    def _lock(self, name: str) -> BoundedSemaphore:
        """One lock per list, so that concurrent requests share one fetch."""
        lock = _LOCKS.get(self.service, name) or BoundedSemaphore(1)
        _LOCKS.put(self.service, lock, name)
        return lock

    def _fetch(self, name: str) -> Names:
        reply = self.service.request(
            "GET",
            LISTS[name].route,
            attempt=_attempt(name),
            deadline=self.deadline,
            read_timeout=_READ_TIMEOUT,
            retries=_RETRIES,
            accept=NO_ROUTE,
        )
        return read_list(name, reply.body) if reply.ok else None
