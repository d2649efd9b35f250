"""
The least that speaks the protocol: a process without the SDK, up in no time, for the tests that kill it.

It answers every call by the `act` among the model parameters.
"""

import json
import os
import sys
import threading
import time
from typing import Any

_LOCK = threading.Lock()
_silent = threading.Event()


def _write(message: dict[str, Any]) -> None:
    with _LOCK:
        sys.stdout.write(json.dumps(message) + "\n\n")
        sys.stdout.flush()


def _reply(session_id: str, kind: str, data: dict[str, Any]) -> None:
    _write({"event": "session", "session_id": session_id, "data": {"type": kind, "data": data}})


def _answer(request: dict[str, Any]) -> None:
    parameters = request["data"]["model_parameters"]
    match parameters.get("act"):
        case "long-line":
            _say(request["session_id"], "x" * parameters["amount"])
        case "crash":
            sys.stderr.write("the last words\n")
            sys.stderr.flush()
            os._exit(7)
        case "fall-silent":
            _silent.set()
        case "hang":
            pass
        case _:
            _say(request["session_id"], request["data"]["prompt_messages"][0]["content"])


def _say(session_id: str, text: str) -> None:
    delta = {"index": 0, "message": {"role": "assistant", "content": text}}
    _reply(session_id, "stream", {"model": "bare", "delta": delta})
    _reply(session_id, "end", {})


def _beat() -> None:
    while not _silent.is_set():
        _write({"event": "heartbeat", "session_id": None, "data": {}})
        time.sleep(0.1)


_write({"name": "bare", "author": "sandbox"})
threading.Thread(target=_beat, daemon=True).start()
for line in sys.stdin:
    _answer(json.loads(line))
