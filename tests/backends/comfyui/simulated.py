"""ComfyUI as its client shows it, without a connection, and history entries as it writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from models.backends.comfyui.client import (
    Accepted,
    FileRef,
    HistoryEntry,
    PromptRequest,
    Queue,
    Refused,
    SystemStats,
)
from models.backends.errors import ImageError
from models.backends.http import Service
from models.clock import Deadline
from models.entities import InputImage
from tests.fakes import image_file

PNG = image_file()


def saved(*names: str, node: str = "9") -> HistoryEntry:
    return HistoryEntry.model_validate({"outputs": {node: {"images": [{"filename": name} for name in names]}}})


FAILED = HistoryEntry.model_validate(
    {"status": {"messages": [["execution_error", {"exception_message": "bad secret-key"}]]}}
)


@dataclass
class SimulatedServer:
    """ComfyUI as its client shows it. `fails` are raised by submissions, in order; None lets one pass. `silent` is raised
    by questions about the queue, `dumb` by those about a node class, which `asked` names."""

    service: Service
    fails: list[ImageError | Refused | None] = field(default_factory=list)
    submitted: list[PromptRequest] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    history: dict[str, HistoryEntry] = field(default_factory=dict)
    files: dict[str, bytes | ImageError | None] = field(default_factory=dict)
    looks: int = 0
    silent: ImageError | None = None
    removed: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    cancels: bool = False
    nodes: dict[str, Any] = field(default_factory=dict)
    dumb: ImageError | None = None
    asked: list[str] = field(default_factory=list)
    dropped: dict[str, Any] = field(default_factory=dict)
    uploaded: list[InputImage] = field(default_factory=list)

    def refuse(self, faults: dict[str, Any]) -> None:
        """Refuse the next submission for the faults of these nodes."""
        error = {"type": "prompt_outputs_failed_validation", "message": "m"}
        self.fails.append(Refused.model_validate({"error": error, "node_errors": faults}))

    def submit(self, request: PromptRequest, *, deadline: Deadline) -> Accepted | Refused:
        self.submitted.append(request)
        failure = self.fails.pop(0) if self.fails else None
        if isinstance(failure, ImageError):
            raise failure
        return failure or Accepted.model_validate({"prompt_id": request.prompt_id, "node_errors": self.dropped})

    def entry(self, prompt_id: str, *, deadline: Deadline) -> HistoryEntry | None:
        return self.history.get(prompt_id)

    def queue(self, *, deadline: Deadline) -> Queue:
        self.looks += 1
        if self.silent:
            raise self.silent
        waiting = [[number, name] for number, name in enumerate(self.pending)]
        return Queue.model_validate({"queue_running": [[0, one] for one in self.running], "queue_pending": waiting})

    def view(self, file: FileRef, *, deadline: Deadline) -> bytes | None:
        said = self.files.get(file.filename, PNG)
        if isinstance(said, ImageError):
            raise said
        return said

    def cancel(self, prompt_id: str, *, deadline: Deadline) -> bool:
        return self.cancels

    def remove_pending(self, ids: Sequence[str], *, deadline: Deadline) -> None:
        self.removed += list(ids)

    def interrupt(self, prompt_id: str, *, deadline: Deadline) -> None:
        self.stopped.append(prompt_id)

    def queue_length(self, *, deadline: Deadline) -> int:
        return len(self.running) + len(self.pending)

    def node(self, class_type: str, *, deadline: Deadline) -> Mapping[str, JsonValue]:
        self.asked.append(class_type)
        if self.dumb:
            raise self.dumb
        return {class_type: self.nodes[class_type]} if class_type in self.nodes else {}

    def upload(self, image: InputImage, *, deadline: Deadline) -> str:
        self.uploaded.append(image)
        return f"dify/{len(self.uploaded)}.png"

    def stats(self, *, deadline: Deadline) -> SystemStats:
        return SystemStats.model_validate({"system": {"comfyui_version": "0.10.0"}})
