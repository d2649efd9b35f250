"""The server's JSON, typed: what is sent, and of the answers what is read.

Reference: ComfyUI `server.py` and `execution.py` (routes `/prompt`, `/history`, `/queue`, `/upload/image`), versions
0.3.64 to 0.38. Answers keep unknown keys unread; nothing of a node's output is required, because any extension may
write there.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, RootModel

type Graph = dict[str, JsonValue]
"""A workflow in API format: node id → `{"class_type", "inputs", "_meta"}`."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExtraData(BaseModel):
    """`extra_pnginfo` is written into the image; `preview_method` spares the socket images that nobody looks at."""

    model_config = ConfigDict(extra="forbid")

    extra_pnginfo: dict[str, JsonValue] | None = None
    preview_method: Literal["none"] = "none"


class PromptRequest(BaseModel):
    """Body of `POST /prompt`. Ids are canonical lower-case UUIDs: newer servers refuse any other `prompt_id`."""

    model_config = ConfigDict(extra="forbid")

    prompt: Graph
    prompt_id: str
    client_id: str
    extra_data: ExtraData = ExtraData()


def _mapping(value: object) -> object:
    # An empty dict is written as a list by some versions.
    return {} if value == [] else value


def _text(value: object) -> object:
    return "" if value is None else value if isinstance(value, str) else str(value)


type Text = Annotated[str, BeforeValidator(_text)]


class FaultInfo(_Answer):
    """`input_config` is the input's definition, absent where a list of choices has more than 20 entries."""

    input_name: Text = ""
    input_config: JsonValue = None
    received_value: JsonValue = None
    class_type: Text = ""
    node_id: Text = ""
    node_title: Text = ""


class Fault(_Answer):
    """One objection of the validation, to one input or to the graph as a whole."""

    type: Text = ""
    message: Text = ""
    details: Text = ""
    extra_info: Annotated[FaultInfo, BeforeValidator(_mapping)] = FaultInfo()


class NodeFaults(_Answer):
    """Everything the validation has against one node; `dependent_outputs` are the output nodes that fall with it."""

    errors: tuple[Fault, ...] = ()
    dependent_outputs: tuple[str, ...] = ()
    class_type: Text = ""


type FaultsByNode = Annotated[Mapping[str, NodeFaults], BeforeValidator(_mapping)]


class Accepted(_Answer):
    """200: the job waits. `node_errors` that are not empty name outputs that the server dropped from the graph."""

    prompt_id: str
    node_errors: FaultsByNode = Field(default_factory=dict)


class Refused(_Answer):
    """400: nothing runs."""

    error: Fault
    node_errors: FaultsByNode = Field(default_factory=dict)


class FileRef(_Answer):
    """A file on the server, as `/view` wants it named; `type` is `output`, `temp` or `input`."""

    filename: str
    subfolder: Text = ""
    type: Annotated[str, BeforeValidator(lambda value: value or "output")] = "output"


class Uploaded(_Answer):
    """Answer of `/upload/image`: the name that the server really chose."""

    name: str
    subfolder: Text = ""
    type: Text = "input"

    @property
    def as_input(self) -> str:
        """The value for a LoadImage node."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.type == "input" else f"{path} [{self.type}]"


class RunError(_Answer):
    """Data of `execution_error` and `execution_interrupted`; the server's traceback and tensors stay unread."""

    node_id: Text = ""
    node_type: Text = ""
    exception_message: Text = ""
    exception_type: Text = ""


class RunStatus(_Answer):
    """`status_str` is "error" for failed and interrupted jobs alike: the messages decide."""

    status_str: Text = ""
    messages: tuple[tuple[str, JsonValue], ...] = ()

    @property
    def last(self) -> str:
        """Name of the last message about the end of the job, "" when there is none."""
        ends = [name for name, _ in self.messages if name in ENDS]
        return ends[-1] if ends else ""

    @property
    def error(self) -> RunError:
        data = [body for name, body in self.messages if name in ENDS and isinstance(body, dict)]
        return RunError.model_validate(data[-1]) if data else RunError()


SUCCESS, FAILED, INTERRUPTED = "execution_success", "execution_error", "execution_interrupted"
ENDS = (SUCCESS, FAILED, INTERRUPTED)


class Entry(_Answer):
    """One finished job of the history. `outputs`: node id → kind (`images`, `gifs`, `text` ...) → what was made."""

    outputs: Mapping[str, JsonValue] = Field(default_factory=dict)
    status: RunStatus | None = None


class History(RootModel[Mapping[str, Entry]]):
    """Answer of `/history/{id}`: empty while the job is unknown, pending or running."""


type QueueItem = tuple[float, str]


def _item(value: object) -> object:
    # [number, prompt_id, graph, extra_data, [outputs]]: the rest belongs to other people.
    return value[:2] if isinstance(value, (list, tuple)) else value


class Queue(_Answer):
    """Answer of `/queue`. Items are (number, prompt id); the pending ones come as a heap, lower numbers run first."""

    queue_running: tuple[Annotated[QueueItem, BeforeValidator(_item)], ...]
    queue_pending: tuple[Annotated[QueueItem, BeforeValidator(_item)], ...]

    def place(self, prompt_id: str) -> int | None:
        """0: running, 1: next ..., None: not in the queue."""
        if any(running == prompt_id for _, running in self.queue_running):
            return 0
        waiting = [pending for _, pending in sorted(self.queue_pending)]
        return waiting.index(prompt_id) + 1 if prompt_id in waiting else None


class System(_Answer):
    comfyui_version: str


class SystemStats(_Answer):
    """Answer of `/system_stats`: the cheap proof that a ComfyUI is at the address."""

    system: System


class Cancelled(_Answer):
    """Answer of `/api/jobs/{id}/cancel` (newer servers)."""

    cancelled: bool = False


class NodeInfo(RootModel[Mapping[str, JsonValue]]):
    """Answer of `/object_info/{class}`: `{class: definition}`, empty for a class that is not installed."""
