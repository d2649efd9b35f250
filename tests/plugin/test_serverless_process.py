"""The plugin as an HTTP server, as the Marketplace and Dify's cloud start it (`INSTALL_METHOD=serverless`)."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import protocol, user
from sandbox.protocol import JsonObject
from tests.servers.scripted import free_port

ROOT = Path(__file__).parents[2]
PROVIDER = "image_generation"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    environment = {"INSTALL_METHOD": "serverless", "SERVERLESS_HOST": "127.0.0.1", "SERVERLESS_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-m", "main"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(url, process)
            yield url
        finally:
            process.kill()


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the process ended"
        with suppress(requests.ConnectionError):
            assert requests.get(f"{url}/health", timeout=5).text == "OK"
            return
        time.sleep(0.1)
    pytest.fail(f"no answer within {seconds} s")


def call(address: str, data: JsonObject) -> list[dict[str, Any]]:
    """The messages of one call."""
    body = json.loads(protocol.request_line("session-1", data))
    with requests.post(f"{address}/invoke", json=body, timeout=60) as reply:
        reply.raise_for_status()
        events = [json.loads(line) for line in reply.text.splitlines() if line.strip()]
    messages = [event["data"] for event in events if event["event"] == "session"]
    assert messages[-1]["type"] == "end"
    return [message["data"] for message in messages if message["type"] == "stream"]


def test_it_names_its_models(address: str) -> None:
    common: JsonObject = {"provider": PROVIDER, "model_type": "llm", "model": "preview", "credentials": {}}
    (answer,) = call(address, {"type": "model", "action": "get_ai_model_schemas", "user_id": "u-1", **common})
    assert answer["model_schema"]["model"] == "preview"


def test_it_makes_an_image(address: str) -> None:
    request: JsonObject = {
        "type": "model",
        "action": "invoke_llm",
        "user_id": "u-1",
        "provider": PROVIDER,
        "model_type": "llm",
        "model": "preview",
        "credentials": {},
        "prompt_messages": [user("a fox")],
        "model_parameters": {"width": 64, "height": 48},
        "tools": None,
        "stop": None,
        "stream": True,
    }
    contents = [part for chunk in call(address, request) for part in chunk["delta"]["message"]["content"] or []]
    (image,) = [part for part in contents if isinstance(part, dict) and part["type"] == "image"]
    assert base64.b64decode(image["base64_data"]).startswith(b"\x89PNG")
