"""The recorded replies and messages of real servers (tests/fixtures/comfyui/recorded)."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.backends.reply import Reply
from tests.backends.comfyui.graphs import FIXTURES

RECORDED = FIXTURES / "recorded"


@dataclass(frozen=True)
class Exchange:
    """One request and its reply. `body` is the JSON that was sent."""

    scenario: str
    step: str
    method: str
    path: str
    body: Any
    reply: Reply

    def __str__(self) -> str:
        return f"{self.scenario}: {self.step}"


def exchanges() -> Iterator[Exchange]:
    for file in sorted(RECORDED.glob("*/exchanges.json")):
        for entry in json.loads(file.read_text("utf-8")):
            asked, said = entry["request"], entry.get("response", {})
            if "status" in said:  # some connections failed
                yield Exchange(
                    file.parent.name, entry["step"], asked["method"], asked["path"], asked.get("json"), _reply(said)
                )


def exchange(scenario: str, step: str) -> Exchange:
    return next(one for one in exchanges() if (one.scenario, one.step) == (scenario, step))


def messages(scenario: str, label: str = "main") -> list[str]:
    """The text messages of one WebSocket, in order."""
    lines = (RECORDED / scenario / f"ws-{label}.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [json.dumps(one["text"]) for one in entries if one["dir"] == "recv" and "text" in one]


def _reply(said: dict[str, Any]) -> Reply:
    body = said.get("text", "").encode() if "text" in said else base64.b64decode(said.get("base64") or "")
    if "json" in said:
        body = json.dumps(said["json"]).encode()
    return Reply(said["status"], {key.lower(): value for key, value in said.get("headers", {}).items()}, body)
