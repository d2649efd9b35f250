"""A server's node definitions, asked class by class and kept for a while.

The whole of `/object_info` is half a megabyte and makes the server scan every model folder; one class is a few
hundred bytes. What a form or a message needs are a dozen classes.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gevent.pool import Pool
from pydantic import JsonValue

from models.backends.comfyui.client import Server
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.memory import Memory
from models.backends.errors import ImageError
from models.clock import Deadline

_KEPT = Memory[Mapping[str, JsonValue]](seconds=300.0, limit=512)
_AWAY = Memory[bool](seconds=20.0, limit=256)
"""Servers that lately did not answer: a form is asked for often, and must not wait each time."""
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Definitions:
    """What one server says about its node classes. The same class is asked for once in five minutes."""

    server: Server

    def fetched(self, classes: Iterable[str], *, deadline: Deadline) -> ObjectInfo:
        """The definitions of `classes`; those that the server does not have are absent. Raises ImageError."""
        wanted = list(dict.fromkeys(classes))
        asked = [name for name in wanted if _KEPT.get(self._key(name)) is None]
        for name, found in zip(asked, Pool(_AT_ONCE).map(lambda name: self._ask(name, deadline), asked), strict=True):
            if isinstance(found, ImageError):
                raise found
            if found:  # a class that is not there may be installed in a moment
                _KEPT.put(self._key(name), found)
        return self.known(wanted)

    def fetched_afresh(self, classes: Iterable[str], *, deadline: Deadline) -> ObjectInfo:
        """The same as the server is now: whoever saves a form may just have installed what was missing."""
        names = list(classes)
        for name in names:
            _KEPT.drop(self._key(name))
        return self.fetched(names, deadline=deadline)

    def known(self, classes: Iterable[str]) -> ObjectInfo:
        """What is remembered of `classes`, without asking."""
        found: dict[str, JsonValue] = {}
        for name in classes:
            found.update(_KEPT.get(self._key(name)) or {})
        return ObjectInfo.parse(found)

    def at_hand(self, classes: Iterable[str], *, deadline: Deadline) -> ObjectInfo:
        """The definitions that can be had quickly; none while the server is away. Never raises."""
        names = list(classes)
        if _AWAY.get(self._key("")) is None:
            try:
                return self.fetched(names, deadline=deadline)
            except ImageError:
                _AWAY.put(self._key(""), True)
        return self.known(names)

    def choices(self, class_type: str, name: str, *, deadline: Deadline) -> Sequence[str]:
        """What the server offers for an input right now, asked afresh for a message; empty when it cannot be told."""
        found = self._ask(class_type, deadline)
        if isinstance(found, ImageError):
            return ()
        spec = ObjectInfo.parse(found).spec(class_type, name)
        return spec.choices or () if spec else ()

    def _ask(self, class_type: str, deadline: Deadline) -> Mapping[str, JsonValue] | ImageError:
        try:
            return self.server.node(class_type, deadline=deadline)
        except ImageError as error:
            return error

    def _key(self, class_type: str) -> str:
        # The account is part of the key, as a digest: what one login may see is not told to another.
        service = self.server.service
        login = hashlib.sha256(repr(sorted(service.headers.items())).encode()).hexdigest()
        return f"{service.base_url} {login} {class_type}"
