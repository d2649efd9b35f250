"""The server's JSON as typed models: what is sent, and the parts of the replies that are read.

Reference: ComfyUI `server.py` and `execution.py` (routes `/prompt`, `/history`, `/queue`, `/upload/image`), versions
0.3.64 to 0.38. Unknown keys are ignored; nothing of a node's output is required, because any extension may write there.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, RootModel


class _ServerReply(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExtraData(BaseModel):
    """`extra_pnginfo` is written into the image; `preview_method` keeps unused preview images off the WebSocket."""

    model_config = ConfigDict(extra="forbid")

    extra_pnginfo: dict[str, JsonValue] | None = None
    preview_method: Literal["none"] = "none"


class PromptRequest(BaseModel):
    """Body of `POST /prompt`. Ids are canonical lower-case UUIDs: newer servers refuse any other `prompt_id`."""

    model_config = ConfigDict(extra="forbid")

    prompt: dict[str, JsonValue]
    prompt_id: str
    client_id: str
    extra_data: ExtraData = ExtraData()


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
    """One error of the validation, about one input or about the whole graph."""

    type: LooseText = ""
    message: LooseText = ""
    details: LooseText = ""
    extra_info: Annotated[FaultDetails, BeforeValidator(_mapping)] = FaultDetails()


class NodeFaults(_ServerReply):
    """The validation errors of one node."""

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


class Uploaded(_ServerReply):
    """Reply of `/upload/image`: the name under which the server stored the file."""

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
        """Name of the last message about the end of the job, "" when there is none."""
        ends = [name for name, _ in self.messages if name in ENDS]
        return ends[-1] if ends else ""

    @property
    def error(self) -> RunError:
        """The data of that message."""
        data = [body for name, body in self.messages if name in ENDS and isinstance(body, dict)]
        return RunError.model_validate(data[-1]) if data else RunError()


SUCCESS, FAILED, INTERRUPTED = "execution_success", "execution_error", "execution_interrupted"
ENDS = (SUCCESS, FAILED, INTERRUPTED)


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


class System(_ServerReply):
    comfyui_version: str


class SystemStats(_ServerReply):
    """Reply of `/system_stats`: cheap to ask, and only ComfyUI answers like this."""

    system: System


class Cancelled(_ServerReply):
    """Reply of `/api/jobs/{id}/cancel` (newer servers)."""

    cancelled: bool = False


class NodeInfo(RootModel[Mapping[str, JsonValue]]):
    """Reply of `/object_info/{class}`: `{class: definition}`, empty for a class that is not installed."""
