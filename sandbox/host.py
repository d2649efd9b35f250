"""The host side of the plugin protocol: calls to a pool of plugin processes, with the daemon's behaviour and limits."""

import itertools
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

from pydantic import JsonValue, ValidationError

from sandbox import protocol
from sandbox.errors import CallTimeoutError, PluginDiedError, PluginError, RefusedError
from sandbox.process import Limits, PluginProcess, Reply
from sandbox.protocol import Chunk, Image, JsonObject, LlmResult, PollingResult, Usage

type Values = Mapping[str, JsonValue]
type Messages = Sequence[Mapping[str, JsonValue]]

ROOT = Path(__file__).parent.parent

_MOST_CHECKS = 240


@dataclass(frozen=True, kw_only=True)
class CallStatistics:
    """Statistics of one call: seconds since the start of the request, and line sizes in bytes."""

    action: str
    process: int
    seconds: float
    seconds_to_first_line: float
    request_line: int
    largest_line: int
    lines: int
    backwards_calls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class InvokeReply:
    """The reply of `invoke_llm`."""

    chunks: tuple[Chunk, ...]
    statistics: CallStatistics

    @property
    def text(self) -> str:
        return protocol.text_of(chunk.delta.message for chunk in self.chunks)

    @property
    def images(self) -> tuple[Image, ...]:
        return protocol.images_of(chunk.delta.message for chunk in self.chunks)

    @property
    def usage(self) -> Usage | None:
        """The usage of the last chunk that has one."""
        return next((chunk.delta.usage for chunk in reversed(self.chunks) if chunk.delta.usage), None)


@dataclass(frozen=True, kw_only=True)
class PollingReply:
    """The reply of `start_polling` or `check_polling`."""

    status: Literal["running", "succeeded", "failed"]
    plugin_state: JsonObject | None
    result: LlmResult | None
    error: str | None
    next_check_after_seconds: int | None
    raw: JsonObject
    statistics: CallStatistics

    @property
    def usage(self) -> Usage | None:
        return self.result.usage if self.result else None

    @property
    def text(self) -> str:
        return protocol.text_of([self.result.message] if self.result else [])

    @property
    def images(self) -> tuple[Image, ...]:
        return protocol.images_of([self.result.message] if self.result else [])


@dataclass
class _Meter:
    """Measures one call."""

    action: str
    process: int
    started: float = field(default_factory=time.perf_counter)
    first: float | None = None
    request_line: int = 0
    line_lengths: list[int] = field(default_factory=list)
    backwards_calls: list[str] = field(default_factory=list)

    def count(self, reply: Reply) -> None:
        self.first = self.first or time.perf_counter()
        self.line_lengths.append(reply.line_length)

    def result(self) -> CallStatistics:
        now = time.perf_counter()
        return CallStatistics(
            action=self.action,
            process=self.process,
            seconds=now - self.started,
            seconds_to_first_line=(self.first or now) - self.started,
            request_line=self.request_line,
            largest_line=max(self.line_lengths, default=0),
            lines=len(self.line_lengths),
            backwards_calls=tuple(self.backwards_calls),
        )


class Host:
    """
    Replaces Dify's plugin daemon. Use as a context manager; thread-safe.

    Calls are distributed round robin, so that start and check of a job can run in different processes. A process that
    died is restarted by the next call to it.

    Args:
        plugin_dir: folder with the plugin's `manifest.yaml` and `main.py`; this project by default.
        provider: bare provider name sent with each call; default: the `name` of the plugin's manifest.
        processes: number of plugin processes.
        environment: added to the environment of the plugin processes.
        limits: the daemon's limits; tests lower them.

    Raises:
        PluginStartError: a process did not start (on entering, or in `start`).

    """

    def __init__(
        self,
        *,
        plugin_dir: Path | str = ROOT,
        provider: str | None = None,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._directory = Path(plugin_dir)
        self._environment = dict(environment or {})
        self._provider = provider
        self._slots: list[PluginProcess | None] = [None] * processes
        self._slot_locks = [threading.Lock() for _ in range(processes)]
        self._turn = itertools.cycle(range(processes))
        self._turn_lock = threading.Lock()
        self.restarts = 0

    def launch(self) -> None:
        """Start the processes that are not running, without waiting. Raises PluginStartError."""
        self._slots = [slot or self._start() for slot in self._slots]

    def start(self) -> None:
        """
        Start the processes that are not running and wait until all are ready.

        Raises:
            PluginStartError: one did not start; none is left running.

        """
        try:
            self.launch()
            for process in self._slots:
                if process is not None:
                    process.wait_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for process in self._slots:
            if process is not None:
                process.kill()

    @property
    def manifest(self) -> JsonObject:
        """The manifest that the plugin sent on its first line."""
        return self.process(0).manifest

    @property
    def provider(self) -> str:
        return self._provider or str(self.manifest["name"])

    def process(self, index: int) -> PluginProcess:
        """The process in a slot, restarted if it died."""
        with self._slot_locks[index]:
            process = self._slots[index]
            if process is None or not process.alive:
                self.restarts += process is not None
                process = self._slots[index] = self._start()
                process.wait_ready()
            return process

    def kill(self, index: int = 0) -> None:
        """Kill the process of a slot; the next call to the slot starts a new one."""
        process = self._slots[index]
        if process is not None:
            process.kill("killed by the test")

    def invoke(
        self,
        model: str,
        credentials: Values,
        messages: Messages,
        parameters: Values | None = None,
        *,
        stream: bool = False,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> InvokeReply:
        """
        Call a model and wait for the complete reply; `on_chunk` is called for each chunk.

        Raises:
            PluginError: the plugin returned an error.
            RefusedError: the daemon would refuse the request or the reply.
            PluginDiedError, CallTimeoutError: there was no reply.

        """
        data = self._llm_request(model, credentials, messages, parameters) | {"stream": stream}
        chunks: list[Chunk] = []
        meter = self._call("invoke_llm", data, lambda item: _take_chunk(item, chunks, on_chunk))
        return InvokeReply(chunks=tuple(chunks), statistics=meter.result())

    def stream(
        self,
        model: str,
        credentials: Values,
        messages: Messages,
        parameters: Values | None = None,
        *,
        stream: bool = True,
    ) -> Iterator[Chunk]:
        """The chunks of a reply as they arrive. Raises the errors of `invoke` during iteration."""
        data = self._llm_request(model, credentials, messages, parameters) | {"stream": stream}
        process, meter = self._next_process("invoke_llm")
        for item in self._converse(process, data, meter):
            yield _validated(Chunk, item)

    def start_polling(
        self,
        model: str,
        credentials: Values,
        messages: Messages,
        parameters: Values | None = None,
        *,
        json_schema: Values | None = None,
    ) -> PollingReply:
        """Start a job. Raises the errors of `invoke`."""
        data = self._llm_request(model, credentials, messages, parameters)
        data |= {"stream": False, "json_schema": None if json_schema is None else _go(json_schema)}
        return self._polling_call("start_polling", data)

    def check_polling(self, model: str, credentials: Values, plugin_state: Values) -> PollingReply:
        """Check a job by its state. Raises the errors of `invoke`."""
        data = self._model_request(model, credentials) | {"plugin_state": _go(plugin_state)}
        return self._polling_call("check_polling", data)

    def run_polling(
        self,
        model: str,
        credentials: Values,
        messages: Messages,
        parameters: Values | None = None,
        *,
        json_schema: Values | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_check: Callable[[PollingReply], None] | None = None,
    ) -> PollingReply:
        """
        Start a job and check it until it ends, at the interval set by the plugin (1 to 30 s, 240 checks).

        Raises:
            CallTimeoutError: the job is still running after the last check.
            PluginError, RefusedError, PluginDiedError: as `invoke`.

        """
        reply = self.start_polling(model, credentials, messages, parameters, json_schema=json_schema)
        for _ in range(_MOST_CHECKS):
            if on_check is not None:
                on_check(reply)
            if reply.status != "running":
                return reply
            sleep(min(max(reply.next_check_after_seconds or 1, 1), 30))
            reply = self.check_polling(model, credentials, reply.plugin_state or {})
        if reply.status != "running":
            return reply
        msg = f"the job was still running after {_MOST_CHECKS} checks"
        raise CallTimeoutError(msg)

    def validate_provider_credentials(self, credentials: Values) -> JsonObject:
        """
        The credentials that Dify stores: the form's and what the plugin's check added.

        Raises PluginError with the plugin's message if the form is refused.
        """
        reply = self._single("validate_provider_credentials", {"credentials": _go(credentials)})
        return {**credentials, **cast("JsonObject", reply.get("credentials") or {})}

    def validate_model_credentials(self, model: str, credentials: Values) -> None:
        """Raises PluginError with the plugin's message if the form of a customizable model is refused."""
        self._single("validate_model_credentials", self._model_request(model, credentials))

    def model_schema(self, model: str, credentials: Values) -> JsonObject | None:
        """The model's schema; None for an unknown name."""
        reply = self._single("get_ai_model_schemas", self._model_request(model, credentials))
        return cast("JsonObject | None", reply["model_schema"])

    def num_tokens(self, model: str, credentials: Values, messages: Messages) -> int:
        data = self._model_request(model, credentials)
        data |= {"prompt_messages": _rebuild_messages(messages), "tools": None}
        return cast("int", self._single("get_llm_num_tokens", data)["num_tokens"])

    def _start(self) -> PluginProcess:
        return PluginProcess(self._directory, environment=self._environment, limits=self.limits)

    def _model_request(self, model: str, credentials: Values) -> JsonObject:
        return {"model_type": "llm", "model": model, "credentials": _go(credentials)}

    def _llm_request(
        self, model: str, credentials: Values, messages: Messages, parameters: Values | None
    ) -> JsonObject:
        return self._model_request(model, credentials) | {
            "prompt_messages": _rebuild_messages(messages),
            "model_parameters": _go(parameters or {}),
            "tools": None,
            "stop": None,
        }

    def _polling_call(self, action: str, data: JsonObject) -> PollingReply:
        answers: list[JsonObject] = []
        meter = self._call(action, data, answers.append)
        raw = _only(action, answers)
        result = _validated(PollingResult, raw)
        return PollingReply(
            status=result.status,
            plugin_state=result.plugin_state and _go(result.plugin_state),
            result=LlmResult.model_validate(result.result) if result.result else None,
            error=result.error,
            next_check_after_seconds=result.next_check_after_seconds,
            raw=raw | {"plugin_state": result.plugin_state and _go(result.plugin_state)},
            statistics=meter.result(),
        )

    def _single(self, action: str, data: JsonObject) -> JsonObject:
        answers: list[JsonObject] = []
        self._call(action, data, answers.append)
        return _only(action, answers)

    def _call(self, action: str, data: JsonObject, take: Callable[[JsonObject], None]) -> _Meter:
        process, meter = self._next_process(action)
        for item in self._converse(process, data, meter):
            take(item)
        return meter

    def _next_process(self, action: str) -> tuple[PluginProcess, _Meter]:
        with self._turn_lock:
            index = next(self._turn)
        return self.process(index), _Meter(action=action, process=index)

    def _converse(self, process: PluginProcess, data: JsonObject, meter: _Meter) -> Iterator[JsonObject]:
        envelope: JsonObject = {"type": "model", "action": meter.action, "user_id": "sandbox-user"}
        request = envelope | {"provider": self.provider} | data
        session_id = str(uuid.uuid4())
        session = process.open_session(session_id)
        line = protocol.request_line(session_id, request)
        meter.request_line = len(line)
        try:
            process.send(line)
            while True:
                reply = self._next(session.inbox, meter)
                match reply.type:
                    case "stream":
                        yield reply.data
                    case "end":
                        return
                    case "error":
                        raise _plugin_error(reply.data)
                    case "invoke":
                        _refuse_backwards_call(process, session_id, reply.data, meter)
        finally:
            process.close_session(session_id)

    def _next(self, inbox: queue.Queue[Reply | PluginDiedError], meter: _Meter) -> Reply:
        remaining = meter.started + self.limits.call - time.perf_counter()
        try:
            reply = inbox.get(timeout=max(remaining, 0.001))
        except queue.Empty as error:
            msg = f"{meter.action} was killed by timeout: not finished after {self.limits.call:g} s"
            raise CallTimeoutError(msg) from error
        if isinstance(reply, PluginDiedError):
            raise reply
        meter.count(reply)
        return reply


def _go(values: Values) -> JsonObject:
    try:
        return cast("JsonObject", protocol.float64_round_trip(dict(values)))
    except OverflowError as error:
        msg = f"the daemon cannot read this number: {error}"
        raise RefusedError(msg) from error


def _rebuild_messages(messages: Messages) -> list[JsonValue]:
    try:
        return protocol.rebuild_messages(messages)
    except ValidationError as error:
        msg = f"the daemon would refuse these messages: {error}"
        raise RefusedError(msg) from error


def _take_chunk(item: JsonObject, chunks: list[Chunk], on_chunk: Callable[[Chunk], None] | None) -> None:
    chunk = _validated(Chunk, item)
    chunks.append(chunk)
    if on_chunk is not None:
        on_chunk(chunk)


def _validated[M: (Chunk, PollingResult)](kind: type[M], item: JsonObject) -> M:
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        msg = f"the daemon would refuse this reply of the plugin: {error}"
        raise RefusedError(msg) from error


def _only(action: str, answers: list[JsonObject]) -> JsonObject:
    if not answers:
        msg = f"the plugin ended {action} without a reply"
        raise RefusedError(msg)
    return answers[0]


def _plugin_error(data: JsonObject) -> PluginError:
    args = data.get("args")
    return PluginError(
        error_type=str(data.get("error_type")),
        message=str(data.get("message")),
        traceback=str(args.get("traceback", "")) if isinstance(args, dict) else "",
    )


def _refuse_backwards_call(process: PluginProcess, session_id: str, data: JsonObject, meter: _Meter) -> None:
    meter.backwards_calls.append(str(data.get("type")))
    for line in protocol.refusal_lines(session_id, str(data.get("backwards_request_id"))):
        process.send(line)
