"""One plugin process: started, read, monitored and killed like the daemon does with a local plugin."""

import atexit
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sandbox import protocol
from sandbox.errors import PluginDiedError, PluginStartError
from sandbox.protocol import JsonObject

log = logging.getLogger(__name__)

_STDERR_LINES = 200
_STDERR_GRACE = 1.0
_COUNTING_BLOCK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The daemon's limits: `line` in bytes, the others in seconds."""

    line: int = protocol.LINE_LIMIT
    start: float = 120.0
    heartbeat: float = 120.0
    call: float = 600.0


@dataclass(frozen=True)
class Reply:
    """One message of the plugin for one call, with the length of its line in bytes."""

    type: str
    data: JsonObject
    line_length: int


@dataclass
class Session:
    """The inbox of one call."""

    inbox: queue.Queue[Reply | PluginDiedError] = field(default_factory=queue.Queue)


class PluginProcess:
    """
    A running plugin.

    Args:
        directory: the plugin's folder, working directory of the process.
        environment: added to this process's own environment.
        limits: the daemon's limits.

    """

    def __init__(self, directory: Path, *, environment: Mapping[str, str], limits: Limits) -> None:
        if os.getpid() == 1:
            msg = "the host must not be process 1: the plugin would consider itself orphaned and exit"
            raise PluginStartError(msg)
        self.manifest: JsonObject = {}
        self.log_messages: deque[str] = deque(maxlen=_STDERR_LINES)
        self._limits = limits
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._kill_reason = ""
        self._death: PluginDiedError | None = None
        self._last_heartbeat = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "main"],
            cwd=directory,
            env={**_own_environment(), "INSTALL_METHOD": "local", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        atexit.register(self.kill)
        self._stderr_reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._threads = [
            self._stderr_reader,
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._watch_heartbeat, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    @property
    def stderr_tail(self) -> str:
        return "".join(self._stderr)

    def wait_ready(self) -> None:
        """
        Wait for the first heartbeat.

        Raises:
            PluginStartError: the process ended, or sent no heartbeat within the start limit.

        """
        deadline = time.monotonic() + self._limits.start
        while not self._ready.wait(0.02):
            if self._ended.is_set():
                msg = f"the plugin did not start: {self._death}"
                raise PluginStartError(msg)
            if time.monotonic() > deadline:
                self.kill("no heartbeat after the start")
                msg = f"the plugin sent no heartbeat within {self._limits.start:g} s\n{self.stderr_tail}"
                raise PluginStartError(msg)

    def open_session(self, session_id: str) -> Session:
        """
        Register the inbox of a call before its request is sent.

        Raises:
            PluginDiedError: the process has ended.

        """
        session = Session()
        with self._lock:
            if self._death is not None:
                raise self._death
            self._sessions[session_id] = session
        return session

    def close_session(self, session_id: str) -> None:
        with self._lock:
            self._sessions.pop(session_id, None)

    def send(self, line: bytes) -> None:
        """Write one line. The end of the plugin is reported through the open sessions."""
        stdin = _pipe(self._process.stdin)
        try:
            with self._write_lock:
                stdin.write(line)
                stdin.flush()
        except (OSError, ValueError) as error:
            log.debug("plugin %s took no more input: %s", self.pid, error)

    def kill(self, reason: str = "the host ended the plugin process") -> None:
        """
        Kill the process and wait for its end.

        The plugin does not exit by itself: it loops on a closed stdin.
        """
        atexit.unregister(self.kill)
        self._kill_reason = self._kill_reason or reason
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(_STDERR_GRACE)

    def _read_stdout(self) -> None:
        line_length = None
        stdout = _pipe(self._process.stdout)
        while line := stdout.readline(self._limits.line + 1):
            if len(line) > self._limits.line:
                line_length = len(line) + _count_rest_of_line(stdout, ended=line.endswith(b"\n"))
                self._kill_reason = (
                    f"killed: a stdout line of {line_length} bytes is longer than the host's {self._limits.line}"
                )
                break
            self._handle(line)
        self._process.kill()
        self._end(self._process.wait(), line_length=line_length)

    def _handle(self, line: bytes) -> None:
        message = protocol.parse_line(line)
        match message:
            case {"event": "session", "session_id": str(session_id), "data": {"type": str(kind), "data": dict(data)}}:
                self._deliver(session_id, Reply(type=kind, data=data, line_length=len(line)))
            case {"event": "heartbeat"}:
                self._last_heartbeat = time.monotonic()
                self._ready.set()
            case {"event": "log", "data": {"level": str(level), "message": str(text)}}:
                self.log_messages.append(f"{level}: {text}")
            case {"event": "log" | "error", "data": data}:
                self.log_messages.append(str(data))
            case {"event": _}:
                log.warning("plugin %s sent an event the daemon does not know: %.200r", self.pid, line)
            case dict() if not self.manifest:
                self.manifest = message
            case _ if line.strip():
                self.log_messages.append(line.decode(errors="replace").rstrip())

    def _deliver(self, session_id: str, reply: Reply) -> None:
        with self._lock:
            session = self._sessions.get(session_id)
        if session is not None:
            session.inbox.put(reply)

    def _end(self, return_code: int, *, line_length: int | None) -> None:
        self._stderr_reader.join(_STDERR_GRACE)  # a child process of the plugin may keep the pipe open
        death = PluginDiedError(
            reason=self._kill_reason or f"the plugin process ended by itself with code {return_code}",
            stderr_tail=self.stderr_tail,
            line_length=line_length,
        )
        with self._lock:
            self._death = death
            self._ended.set()
            sessions = list(self._sessions.values())
        for session in sessions:
            session.inbox.put(death)

    def _read_stderr(self) -> None:
        for line in _pipe(self._process.stderr):
            self._stderr.append(line.decode(errors="replace"))

    def _watch_heartbeat(self) -> None:
        while not self._ended.wait(min(1.0, self._limits.heartbeat / 4)):
            silence = time.monotonic() - self._last_heartbeat
            if self._ready.is_set() and silence > self._limits.heartbeat:
                self._kill_reason = f"killed: no heartbeat for {silence:.1f} s"
                self._process.kill()
                return


def _own_environment() -> dict[str, str]:
    """The whole environment, like the daemon, except PYTHONPATH: it must not shadow the plugin's own modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        msg = "the process was started without this pipe"
        raise PluginStartError(msg)
    return stream


def _count_rest_of_line(stream: IO[bytes], *, ended: bool) -> int:
    count = 0
    while not ended and (block := stream.readline(_COUNTING_BLOCK)):
        count += len(block)
        ended = block.endswith(b"\n")
    return count
