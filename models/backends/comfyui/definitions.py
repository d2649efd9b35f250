"""A server's node definitions, asked for class by class and cached for a while.

The whole of `/object_info` is half a megabyte and makes the server scan every model folder; one class is a few
hundred bytes, and a form or a message needs about a dozen classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.backends.cache import ServerCache
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.graph import NodeClass, ObjectInfo
from models.backends.errors import ImageError
from models.backends.partial import together
from models.clock import Deadline

_CLASSES = ServerCache[NodeClass | str](seconds=300.0, limit=2048)
"""NodeDefinitions by class name; ABSENT for a class that the server does not have."""
_SILENT = ServerCache[bool](seconds=20.0)
"""Servers that lately did not answer: forms are asked for often and must not wait each time."""
ABSENT = "absent"
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class NodeDefinitions:
    """The node classes of one server. The same class is asked for once in five minutes."""

    client: ComfyUIClient

    def fetched(self, classes: Iterable[str], deadline: Deadline) -> ObjectInfo:
        """The definitions of `classes`; those that the server does not have are absent. Raises ImageError."""
        wanted = list(dict.fromkeys(classes))
        missing = [name for name in wanted if _CLASSES.get(self.client.service, name) is None]
        for outcome in together(lambda name: self._fetch(name, deadline), missing, at_once=_AT_ONCE):
            if isinstance(outcome, ImageError):
                raise outcome
        return self.known(wanted)

    def fetched_afresh(self, classes: Iterable[str], deadline: Deadline) -> ObjectInfo:
        """The definitions as the server has them now: what was missing may have been installed a moment ago."""
        names = list(classes)
        for name in names:
            _CLASSES.drop(self.client.service, name)
        return self.fetched(names, deadline)

    def known(self, classes: Iterable[str]) -> ObjectInfo:
        """The cached definitions among `classes`, without asking the server."""
        found = {name: _CLASSES.get(self.client.service, name) for name in classes}
        return ObjectInfo({name: known for name, known in found.items() if isinstance(known, NodeClass)})

    def at_hand(self, classes: Iterable[str], deadline: Deadline) -> ObjectInfo:
        """The definitions that can be had by `deadline`; only the cached ones while the server is silent. Never raises."""
        names = list(classes)
        if _SILENT.get(self.client.service) is None:
            try:
                return self.fetched(names, deadline)
            except ImageError:  # what really needs the server will meet the same trouble and report it
                _SILENT.put(self.client.service, True)
        return self.known(names)

    def choices(self, class_type: str, name: str, deadline: Deadline) -> Sequence[str]:
        """What the server offers for an input at this moment, for a message; empty when it cannot be found out."""
        try:
            spec = self.fetched_afresh([class_type], deadline).spec(class_type, name)
        except ImageError:  # the message is about another error and is complete without the choices
            return ()
        return (spec.choices or ()) if spec else ()

    def _fetch(self, name: str, deadline: Deadline) -> None:
        found = ObjectInfo.parse(self.client.node(name, deadline=deadline))
        _CLASSES.put(self.client.service, found.classes.get(name, ABSENT), name)
