"""What a server says on its WebSocket, and what follows from it for a reader. Pure: no socket here.

Reference: ComfyUI WebSocket messages (`server.py`, `main.py`, `execution.py`). Only `executing` without a node means
the end of a job: `execution_success` comes before the history holds it, and `execution_error` can be a mere warning.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError


@dataclass(frozen=True, slots=True)
class Event:
    """One message. `prompt_id` is empty in messages to everybody; `value` and `of` count a node's steps."""

    kind: str
    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    of: float = 0


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    max: float = 0


class _Message(BaseModel):
    type: str
    data: JsonValue = None


BINARY = Event("binary")
UNKNOWN = Event("unknown")


def read_event(text: str | bytes) -> Event:
    """A text message of the socket as an event; `UNKNOWN` for what an extension may send in a shape of its own."""
    try:
        message = _Message.model_validate(json.loads(text))
        data = _Data.model_validate(message.data if isinstance(message.data, dict) else {})
    except (ValueError, ValidationError):
        return UNKNOWN
    return Event(message.type, data.prompt_id, data.node, data.value, data.max)


@dataclass
class Progress:
    """What the events said about the runs of one job, in the order of `ids`."""

    ids: Sequence[str]
    titles: Mapping[str, str] = field(default_factory=dict)
    """Node id → what a reader calls the node."""
    say: Callable[[str], None] = lambda _: None
    """Told the words whenever they change."""
    ended: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    words: str = ""

    def hear(self, event: Event) -> None:
        """Take in one event; those about other people's jobs change nothing."""
        if event.prompt_id not in self.ids:
            return
        self.started.add(event.prompt_id)
        match event.kind:
            case "executing" if event.node is None:
                self.ended.add(event.prompt_id)
            case "executing":
                self._tell(event, f"running {self.titles.get(event.node or '', event.node)}")
            case "progress" if event.of > 1:
                self._tell(event, f"step {event.value:.0f}/{event.of:.0f}")
            case "execution_error" | "execution_interrupted":
                self.failed.add(event.prompt_id)

    @property
    def over(self) -> bool:
        """Whether nothing more is worth waiting for: every run ended, or one of them badly."""
        return self.ended.issuperset(self.ids) or bool(self.ended & self.failed)

    def _tell(self, event: Event, words: str) -> None:
        if len(self.ids) > 1:
            words = f"image {list(self.ids).index(event.prompt_id) + 1} of {len(self.ids)}, {words}"
        if words != self.words:
            self.words = words
            self.say(words)


def queued(place: int) -> str:
    """The place in the queue as a waiting reader wants it: `queued 2nd`."""
    return f"queued {place}{_suffix(place)}"


def _suffix(number: int) -> Literal["st", "nd", "rd", "th"]:
    if number % 100 in {11, 12, 13}:
        return "th"
    match number % 10:
        case 1:
            return "st"
        case 2:
            return "nd"
        case 3:
            return "rd"
        case _:
            return "th"
