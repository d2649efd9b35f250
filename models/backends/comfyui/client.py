"""ComfyUI's REST routes: the server's JSON as typed models, and a client with one method and one request per route.

Reference: ComfyUI `server.py` and `execution.py`, versions 0.3.64 to 0.38: routes `/prompt`, `/queue`, `/interrupt`,
`/history/{id}`, `/api/jobs/{id}/cancel`, `/view`, `/upload/image`, `/object_info/{class}`, `/system_stats`. Unknown keys
are ignored; nothing of a node's output is required, because any extension may write there. The path of the configured
address is kept, for servers behind a reverse proxy.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, RootModel

from models.backends.errors import ImageError
from models.backends.http import MIB, ONCE, FormField, Service
from models.backends.reply import Reply, parse
from models.clock import Deadline
from models.entities import InputImage

UPLOAD_FOLDER = "dify"
_SUBMIT_SECONDS = 30.0  # the server validates the graph and answers
_MAX_IMAGE_BYTES = 128 * MIB
_MAX_QUEUE_BYTES = 64 * MIB  # the queue carries every waiting graph
_MAX_ENTRY_BYTES = 16 * MIB  # one graph and the names of its files
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "image/bmp": "bmp"}


class _ServerReply(BaseModel):
    model_config = ConfigDict(frozen=True)


class PromptRequest(BaseModel):
    """Body of `POST /prompt`. Ids are canonical lower-case UUIDs: newer servers refuse any other `prompt_id`.

    `extra_pnginfo` in `extra_data` is written into the image; `preview_method` keeps preview images off the WebSocket.
    `front`: before all that wait; left out of the body otherwise.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: dict[str, JsonValue]
    prompt_id: str
    client_id: str
    extra_data: dict[str, JsonValue]
    front: Literal[True] | None = None


def _mapping(value: object) -> object:
    # Some versions write an empty dict as a list.
    return {} if value == [] else value


def _text(value: object) -> object:
    return "" if value is None else value if isinstance(value, str) else str(value)


type LooseText = Annotated[str, BeforeValidator(_text)]


class FaultDetails(_ServerReply):
    """`input_config` is the input's definition, absent where a list of choices has more than 20 entries."""

    input_name: LooseText = ""
    input_config: JsonValue = None
    received_value: JsonValue = None
    node_id: LooseText = ""


class ValidationFault(_ServerReply):
    type: LooseText = ""
    message: LooseText = ""
    details: LooseText = ""
    extra_info: Annotated[FaultDetails, BeforeValidator(_mapping)] = FaultDetails()


class NodeFaults(_ServerReply):
    errors: tuple[ValidationFault, ...] = ()
    class_type: LooseText = ""


type FaultsByNode = Annotated[Mapping[str, NodeFaults], BeforeValidator(_mapping)]


class Accepted(_ServerReply):
    """200: the job is queued. `node_errors` name the output nodes that the server dropped from the graph."""

    prompt_id: str
    node_errors: FaultsByNode = Field(default_factory=dict)


class Refused(_ServerReply):
    """400: nothing was queued."""

    error: ValidationFault
    node_errors: FaultsByNode = Field(default_factory=dict)


class FileRef(_ServerReply):
    """A file on the server by the names that `/view` takes; `type` is `output`, `temp` or `input`."""

    filename: str
    subfolder: LooseText = ""
    type: Annotated[str, BeforeValidator(lambda value: value or "output")] = "output"

    @property
    def saved(self) -> bool:
        return self.type == "output"


class Uploaded(_ServerReply):
    name: str
    subfolder: LooseText = ""
    type: LooseText = "input"

    @property
    def as_input(self) -> str:
        """The value for a LoadImage node."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.type == "input" else f"{path} [{self.type}]"


class RunError(_ServerReply):
    """Data of `execution_error` and `execution_interrupted`, without the server's traceback and tensors."""

    node_id: LooseText = ""
    node_type: LooseText = ""
    exception_message: LooseText = ""
    exception_type: LooseText = ""


class RunStatus(_ServerReply):
    """The end of a job. `status_str` is "error" for failed and interrupted jobs alike: the messages decide."""

    status_str: LooseText = ""
    messages: tuple[tuple[str, JsonValue], ...] = ()

    @property
    def last(self) -> str:
        """The last message about the end of the job, "" when there is none."""
        return next((name for name, _ in reversed(self.messages) if name in _ENDS), "")

    @property
    def error(self) -> RunError:
        data = [body for name, body in self.messages if name in _ENDS and isinstance(body, dict)]
        return RunError.model_validate(data[-1]) if data else RunError()


SUCCESS, INTERRUPTED = "execution_success", "execution_interrupted"
_ENDS = (SUCCESS, INTERRUPTED, "execution_error")


class HistoryEntry(_ServerReply):
    """One finished job of the history. `outputs`: node id → kind (`images`, `gifs`, `text` ...) → list of results."""

    outputs: Mapping[str, JsonValue] = Field(default_factory=dict)
    status: Annotated[RunStatus, BeforeValidator(lambda value: value or {})] = RunStatus()

    @property
    def failed(self) -> bool:
        # The status word alone says "error" for interrupted jobs too, and very old servers write no status at all.
        return self.status.last != SUCCESS and (self.status.last != "" or self.status.status_str == "error")


class History(RootModel[Mapping[str, HistoryEntry]]):
    """Reply of `/history/{id}`: empty while the job is unknown, pending or running."""


type QueueItem = tuple[float, str]


def _item(value: object) -> object:
    # [number, prompt_id, graph, extra_data, [outputs]]: the rest may hold other users' data.
    return value[:2] if isinstance(value, (list, tuple)) else value


class Queue(_ServerReply):
    """Reply of `/queue`. Items are (number, prompt id); the pending ones come unsorted, lower numbers run first."""

    queue_running: tuple[Annotated[QueueItem, BeforeValidator(_item)], ...]
    queue_pending: tuple[Annotated[QueueItem, BeforeValidator(_item)], ...]

    def place(self, prompt_id: str) -> int | None:
        """0: running, 1: next, 2: the one after it ...; None: not in the queue."""
        if any(running == prompt_id for _, running in self.queue_running):
            return 0
        waiting = [pending for _, pending in sorted(self.queue_pending)]
        return waiting.index(prompt_id) + 1 if prompt_id in waiting else None


class QueueLength(_ServerReply):
    """Reply of `GET /prompt`: the jobs that wait and the running one."""

    remaining: int = Field(validation_alias=AliasPath("exec_info", "queue_remaining"))


class SystemStats(_ServerReply):
    comfyui_version: str = Field(validation_alias=AliasPath("system", "comfyui_version"))


class Cancelled(_ServerReply):
    cancelled: bool = False


class NodeInfo(RootModel[Mapping[str, JsonValue]]):
    """Reply of `/object_info/{class}`: `{class: definition}`, empty for a class that is not installed."""


@dataclass(frozen=True, slots=True)
class ComfyUIClient:
    """The routes of one ComfyUI server, for one account. Every method raises ImageError."""

    service: Service

    def submit(self, request: PromptRequest, *, deadline: Deadline) -> Accepted | Refused:
        """Queue a job. `Refused` when the validation found no output that could run."""
        attempt = "Submitting the workflow to ComfyUI"
        reply = self.service.request(
            "POST",
            "prompt",
            attempt=attempt,
            deadline=deadline,
            json=request.model_dump(mode="json", exclude={"front"} if request.front is None else None),
            read_timeout=_SUBMIT_SECONDS,
            accept=(HTTPStatus.BAD_REQUEST,),
        )
        if reply.ok:
            return parse(reply, Accepted, attempt=attempt)
        match reply.json():
            case {"error": {"type": str()}}:
                return parse(reply, Refused, attempt=attempt)
            case _:  # comes from a proxy and says nothing about the workflow
                raise self.service.failure(attempt, self.service.explain(reply))

    def entry(self, prompt_id: str, *, deadline: Deadline) -> HistoryEntry | None:
        """The finished job; None while it is unknown, waiting or running."""
        path = f"history/{quote(prompt_id)}"
        attempt = "Asking ComfyUI for the result"
        return self._get(path, History, attempt, deadline, max_bytes=_MAX_ENTRY_BYTES).root.get(prompt_id)

    def queue(self, *, deadline: Deadline) -> Queue:
        attempt = "Asking ComfyUI for its queue"
        return self._get("queue", Queue, attempt, deadline, max_bytes=_MAX_QUEUE_BYTES)

    def queue_length(self, *, deadline: Deadline) -> int:
        """The jobs in the queue, the running one included; unlike `queue` without their graphs."""
        return self._get("prompt", QueueLength, "Asking ComfyUI for the length of its queue", deadline).remaining

    def stats(self, *, deadline: Deadline) -> SystemStats:
        return self._get("system_stats", SystemStats, "Checking ComfyUI", deadline)

    def node(self, class_type: str, *, deadline: Deadline) -> Mapping[str, JsonValue]:
        path = f"object_info/{quote(class_type, safe='')}"
        return self._get(path, NodeInfo, f"Asking ComfyUI for the node {class_type}", deadline).root

    def view(self, file: FileRef, *, deadline: Deadline) -> bytes | None:
        """The bytes of a file; None when the server no longer has it. Not retried: the caller polls again anyway."""
        reply = self.service.request(
            "GET",
            "view",
            attempt=f"Fetching {file.filename} from ComfyUI",
            deadline=deadline,
            params={"filename": file.filename, "subfolder": file.subfolder, "type": file.type},
            max_bytes=_MAX_IMAGE_BYTES,
            retries=ONCE,
            brings_result=True,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        return reply.body if reply.ok else None

    def upload(self, image: InputImage, *, deadline: Deadline) -> str:
        """Store an input image; returns the value for a LoadImage node.

        The input folder is shared by all users and never cleaned up: names are random and lie in a folder of their own.
        """
        attempt = "Sending the input image to ComfyUI"
        name = f"{uuid.uuid4()}.{SUFFIXES.get(image.mime_type, 'png')}"
        form: dict[str, FormField] = {
            "image": (name, image.data, image.mime_type),
            "type": "input",
            "subfolder": UPLOAD_FOLDER,
        }
        send = partial(self.service.request, "POST", "upload/image", attempt=attempt, deadline=deadline, form=form)
        try:
            reply = send()
        except ImageError as error:
            if not error.transient:
                raise
            reply = send()  # the same bytes under the same name are the same file
        return parse(reply, Uploaded, attempt=attempt).as_input

    def remove_pending(self, ids: Iterable[str], *, deadline: Deadline) -> None:
        """Remove waiting jobs from the queue; the server ignores running and unknown ids."""
        self._cancel("queue", deadline, {"delete": list(ids)})

    def interrupt(self, prompt_id: str, *, deadline: Deadline) -> None:
        """Stop this job if it is running. Never sent without an id, which would stop another user's job."""
        self._cancel("interrupt", deadline, {"prompt_id": prompt_id})

    def cancel(self, prompt_id: str, *, deadline: Deadline) -> bool:
        """Cancel a waiting or running job in one step; False on servers without the route or the job."""
        reply = self._cancel(f"api/jobs/{quote(prompt_id)}/cancel", deadline)
        return reply.ok and parse(reply, Cancelled, attempt="Cancelling the job at ComfyUI").cancelled

    def _get[M: BaseModel](self, path: str, model: type[M], attempt: str, deadline: Deadline, **limits: Any) -> M:
        reply = self.service.request("GET", path, attempt=attempt, deadline=deadline, retries=ONCE, **limits)
        return parse(reply, model, attempt=attempt)

    def _cancel(self, path: str, deadline: Deadline, body: Mapping[str, object] | None = None) -> Reply:
        return self.service.request(
            "POST",
            path,
            attempt="Cancelling the job at ComfyUI",
            deadline=deadline,
            json=body,
            accept=(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED),
        )
