"""Runs a Dify app (workflow or chatflow, as exported from the editor) on Dify's own engine."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from graphon.dsl import DslError, inspect
from graphon.dsl.entities import DslCredentials, DslDocument
from graphon.engine import Engine
from graphon.engine.filter import EngineEventFilterContext, ResponseStreamFilter, filter_engine_events
from graphon.engine.layer.builtin.execution_limits import ExecutionLimitsLayer
from graphon.engine_events import (
    EngineEvent,
    GraphRunAbortedEvent,
    GraphRunFailedEvent,
    GraphRunPartialSucceededEvent,
    GraphRunPausedEvent,
    GraphRunSucceededEvent,
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunModelPollingProgressEvent,
    NodeRunPauseRequestedEvent,
    NodeRunStartedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from graphon.enums import BuiltinNodeTypes
from graphon.file.models import File
from graphon.file.runtime import use_workflow_file_runtime
from graphon.graph.graph import Graph
from graphon.graph.validation import GraphValidationError
from graphon.nodes.start.entities import StartNodeData
from graphon.runtime.init_params import InitParams
from graphon.runtime.runtime_state import RuntimeState
from graphon.runtime.variable_pool import VariablePool
from graphon.variables.segments import Segment

from sandbox.errors import UsageError
from sandbox.human_input import open_question
from sandbox.inputs import Given, start_values, upload
from sandbox.local_llm import LABEL
from sandbox.node_factory import NodeFactory, Services

type Status = Literal["running", "succeeded", "failed", "exception", "partial-succeeded", "aborted", "paused"]

_LONGEST_RUN = 1200  # seconds: Dify's WORKFLOW_MAX_EXECUTION_TIME
_MOST_STEPS = 500  # Dify's WORKFLOW_MAX_EXECUTION_STEPS
_WORKERS = 5


class WorkflowError(UsageError):
    """The app cannot be run: the file is invalid, or it uses a node that the engine does not support."""


@dataclass
class NodeRun:
    """One run of one node; a node inside an iteration has several."""

    id: str
    title: str
    type: str
    model: str = ""
    status: Status = "running"
    seconds: float = 0.0
    checks: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    price: Decimal = Decimal(0)
    currency: str = ""


@dataclass
class WorkflowRun:
    """
    A finished run.

    `outputs` is the result of the app (`answer` in a chatflow), `nodes` lists every node run in start order, `files` the
    written images, `error` is the reason of a failed run, or what a paused run waits for.

    `streamed` is what the Answer and End nodes stream, that is, what a reader sees in a chat, in the web app and in the
    result pane. The text of a polling LLM node is missing there, though `outputs` and later nodes have it.
    """

    status: Status = "running"
    outputs: dict[str, Any] = field(default_factory=dict)
    streamed: str = ""
    nodes: list[NodeRun] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    seconds: float = 0.0
    error: str = ""

    def node(self, node_id: str) -> NodeRun:
        """The last run of a node. Raises LookupError if it did not run."""
        for node in reversed(self.nodes):
            if node.id == node_id:
                return node
        msg = f"node {node_id!r} did not run; these did: {[node.id for node in self.nodes]}"
        raise LookupError(msg)


def run_workflow(
    dsl: str | Path,
    inputs: Mapping[str, Given],
    services: Services,
    *,
    query: str = "",
    files: Sequence[Path] = (),
    on_event: Callable[[WorkflowRun], None] | None = None,
) -> WorkflowRun:
    """
    Run an app from its DSL (text, or the path of the file).

    A chatflow's turn is added to the conversation of `services`, which the next run with the same services continues.

    Args:
        dsl: YAML with `kind: app` and mode `workflow` or `advanced-chat`.
        inputs: values of the start node; `Path`s (or lists of them) for files.
        services: plugin, files, credentials.
        query: the user's message in a chatflow.
        files: the user's attachments in a chatflow.
        on_event: called with the run so far after each event of the engine.

    Returns:
        The run, successful or not.

    Raises:
        WorkflowError: the app cannot be run.
        InputError: the inputs do not fit the start node.

    """
    document = _document(_read(dsl) if isinstance(dsl, Path) else dsl)
    written_before = len(services.store.written)
    with use_workflow_file_runtime(services.store):
        uploads = [upload(path, services.store) for path in files]
        dialogue_count = len(services.conversation.turns)
        system = {"query": query, "files": uploads, "dialogue_count": dialogue_count}
        engine = _engine(document, inputs, services, system=system)
        recorder = _Recorder(_model_labels(document, services), _open_questions(document))
        for event in _events(engine):
            recorder.record(event)
            if on_event is not None:
                on_event(recorder.run)
        run = recorder.finish()
        run.files = tuple(services.store.written[written_before:])
        if "answer" in run.outputs:
            services.conversation.add(query, uploads, run.outputs["answer"], _images(run))
        return run


def _images(run: WorkflowRun) -> list[File]:
    """The files that Dify attaches to a chatflow's message."""
    return [file for node in run.nodes if node.type == BuiltinNodeTypes.LLM for file in node.outputs.get("files", ())]


def _events(engine: Engine) -> Iterator[EngineEvent]:
    """
    The events of a run; of the text chunks only those that an Answer or End node shows, in the order of its template.

    The engine reports a failure as an event and then raises it; it is not raised twice here.
    """
    failed = False
    context = EngineEventFilterContext.from_engine(engine)
    try:
        for event in filter_engine_events(engine.run(), context=context, filters=[ResponseStreamFilter()]):
            failed = isinstance(event, GraphRunFailedEvent)
            yield event
    except Exception:
        if not failed:
            raise


def _model_labels(document: DslDocument, services: Services) -> dict[str, str]:
    """The model's name by node, marked if the local language model replaces it."""
    models = {str(node["id"]): node["data"]["model"] for node in _nodes(document) if "model" in node["data"]}
    return {
        node_id: services.runs(str(model["name"]))
        if model["provider"] == services.host.provider
        else f"{model['name']} ({LABEL})"
        for node_id, model in models.items()
    }


def _open_questions(document: DslDocument) -> dict[str, str]:
    """What each Human Input node waits for."""
    return {
        str(node["id"]): open_question(node["data"])
        for node in _nodes(document)
        if node["data"]["type"] == BuiltinNodeTypes.HUMAN_INPUT
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise WorkflowError(msg) from error


def _document(text: str) -> DslDocument:
    try:
        plan = inspect(text)
    except DslError as error:
        msg = f"this is not a Dify app that can be run: {error}"
        raise WorkflowError(msg) from error
    document = plan.document
    unknown = _node_types(document) - {str(node_type) for node_type in NodeFactory.NODE_BUILDERS}
    if document.graph_config is None or unknown:
        msg = plan.load_reason or f"unsupported node types: {', '.join(sorted(unknown))}"
        raise WorkflowError(msg)
    return document


def _node_types(document: DslDocument) -> set[str]:
    return {str(node["data"]["type"]) for node in _nodes(document)}


def _nodes(document: DslDocument) -> Sequence[Mapping[str, Any]]:
    nodes: Sequence[Mapping[str, Any]] = (document.graph_config or {}).get("nodes", ())
    return nodes


def _engine(
    document: DslDocument, inputs: Mapping[str, Given], services: Services, *, system: Mapping[str, Any]
) -> Engine:
    start = _start_node(document)
    values = start_values(StartNodeData.model_validate(start["data"]).variables, inputs, services.store)
    run_id = str(uuid.uuid4())
    context = {"user_id": "sandbox-user", "app_id": "sandbox-app", "workflow_id": run_id, "workflow_run_id": run_id}
    pool = _variable_pool(document, str(start["id"]), values, {**context, **system})
    state = RuntimeState(variable_pool=pool, start_at=time.time(), workflow_id=run_id)
    graph_config = document.graph_config or {}
    factory = NodeFactory(
        graph_config=graph_config,
        init_params=InitParams(workflow_id=run_id, graph_config=graph_config, run_context=context, call_depth=0),
        runtime_state=state,
        credentials=DslCredentials(),
        dependencies=[],
        services=services,
    )
    try:
        graph = Graph.init(graph_config=graph_config, node_factory=factory, root_node_id=str(start["id"]))
    except (GraphValidationError, LookupError, ValueError) as error:
        raise WorkflowError(str(error)) from error
    engine = Engine(graph=graph, runtime_state=state, workers=_WORKERS)
    engine.add_layer(ExecutionLimitsLayer(max_steps=_MOST_STEPS, max_time=_LONGEST_RUN))
    return engine


def _start_node(document: DslDocument) -> Mapping[str, Any]:
    starts = [node for node in _nodes(document) if node["data"]["type"] == BuiltinNodeTypes.START]
    if len(starts) != 1:
        msg = f"the app needs exactly one start node, not {len(starts)}"
        raise WorkflowError(msg)
    return starts[0]


def _variable_pool(
    document: DslDocument, start_id: str, values: Mapping[str, Any], system: Mapping[str, Any]
) -> VariablePool:
    pool = VariablePool()
    for variable in document.runtime_variables.environment_variables:
        pool.add(("env", variable.name), variable.value)
    for variable in document.runtime_variables.conversation_variables:
        pool.add(("conversation", variable.name), variable.value)
    for name, value in system.items():
        pool.add(("sys", name), value)
    for name, value in values.items():
        pool.add((start_id, name), value)
    return pool


class _Recorder:
    """Builds a `WorkflowRun` from the engine's events."""

    def __init__(self, models: Mapping[str, str], questions: Mapping[str, str]) -> None:
        self.run = WorkflowRun()
        self._models = models
        self._questions = questions
        self._started = time.perf_counter()
        self._by_execution: dict[str, tuple[NodeRun, datetime]] = {}

    def record(self, event: EngineEvent) -> None:
        match event:
            case NodeRunStartedEvent():
                self._begin(event)
            case NodeRunStreamChunkEvent():
                self.run.streamed += event.chunk
            case NodeRunModelPollingProgressEvent():
                self._by_execution[event.id][0].checks = event.attempt + 1
            case NodeRunPauseRequestedEvent():
                self._by_execution[event.id][0].status = "paused"
                self.run.error = self._questions[event.node_id]
            case NodeRunSucceededEvent():
                self._end(event, "succeeded")
            case NodeRunFailedEvent() | NodeRunExceptionEvent():
                self._end(event, "failed" if isinstance(event, NodeRunFailedEvent) else "exception", event.error)
            case _:
                self._record_outcome(event)

    def _record_outcome(self, event: EngineEvent) -> None:
        match event:
            case GraphRunSucceededEvent():
                self._close("succeeded", event.outputs)
            case GraphRunPartialSucceededEvent():
                self._close("partial-succeeded", event.outputs)
            case GraphRunAbortedEvent():
                self._close("aborted", event.outputs, event.reason or "aborted")
            case GraphRunPausedEvent():
                self._close("paused", event.outputs, self.run.error)
            case GraphRunFailedEvent():
                self._close("failed", {}, event.error)

    def finish(self) -> WorkflowRun:
        self.run.seconds = time.perf_counter() - self._started
        return self.run

    def _begin(self, event: NodeRunStartedEvent) -> None:
        node = NodeRun(id=event.node_id, title=event.node_title, type=str(event.node_type))
        node.model = self._models.get(event.node_id, "")
        self._by_execution[event.id] = (node, event.start_at)
        self.run.nodes.append(node)

    def _end(
        self, event: NodeRunSucceededEvent | NodeRunFailedEvent | NodeRunExceptionEvent, status: Status, error: str = ""
    ) -> None:
        node, started = self._by_execution[event.id]
        result = event.node_run_result
        node.status, node.error = status, error
        node.seconds = (datetime.now(UTC).replace(tzinfo=None) - started).total_seconds()
        node.outputs = {name: _plain(value) for name, value in result.outputs.items()}
        node.price, node.currency = result.llm_usage.total_price, result.llm_usage.currency

    def _close(self, status: Status, outputs: Mapping[str, object], error: str = "") -> None:
        self.run.status, self.run.error = status, error
        self.run.outputs = {name: _plain(value) for name, value in outputs.items()}


def _plain(value: object) -> Any:
    return value.to_object() if isinstance(value, Segment) else value
